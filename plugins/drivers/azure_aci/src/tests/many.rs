//! Observation of many groups, and lists.

use super::*;

/// Makes groups that run.
fn groups(azure: &Shared, count: usize) -> (DriverHarness<AzureAci>, Vec<Handle>) {
    let aci = plain(azure);
    let ids: Vec<String> = (0..count).map(|number| format!("i{number:04}")).collect();
    let handles = ids.iter().map(|id| aci.create(id, json!({})).unwrap().handle).collect();
    ids.iter().for_each(|id| start(azure, &format!("occopus-{id}")));
    azure.lock().unwrap().calls.clear();
    (aci, handles)
}

#[test]
fn many_cost_one_list_a_page_and_some_views() {
    let azure = Azure::shared();
    let (aci, handles) = groups(&azure, 250);
    azure.lock().unwrap().page_size = 100;
    let observe = || {
        azure.lock().unwrap().calls.clear();
        let seen = aci.observe(&handles).unwrap();
        assert!(seen.iter().zip(&handles).all(|(seen, handle)| seen.handle == *handle));
        let azure = azure.lock().unwrap();
        let lists = azure.calls.iter().filter(|(what, _)| what.ends_with("containergroups")).count();
        (seen.iter().filter(|seen| seen.phase == Phase::Running).count(), lists, azure.calls.len() - lists)
    };
    // All are read in turn, and then not for a while.
    for views in [50, 50, 50, 50, 50, 0, 0] {
        assert_eq!(observe(), (250, 3, views));
    }
    // Those that did not succeed are read at once: here is the reason.
    azure.lock().unwrap().change("occopus-i0200", |group| {
        group["properties"]["provisioningState"] = json!("Failed");
        group["properties"]["instanceView"] =
            json!({"state": "Failed", "events": [{"name": "InsufficientCapacity.", "message": "full"}]});
        group["properties"]["containers"][0]["properties"]["instanceView"] = json!({});
    });
    assert_eq!(observe(), (249, 3, 1));
    let seen = aci.observe(&handles).unwrap().remove(200);
    assert_eq!((seen.phase, seen.message.as_deref()), (Phase::Failed, Some("InsufficientCapacity: full")));
}

#[test]
fn a_few_are_read_without_a_list() {
    let azure = Azure::shared();
    let (aci, handles) = groups(&azure, 4);
    azure
        .lock()
        .unwrap()
        .change("occopus-i0001", |group| group["properties"]["instanceView"] = json!({"state": "Stopped"}));
    let mut requested = handles.clone();
    requested.push(handles[0].clone());
    let phases: Vec<_> = aci.observe(&requested).unwrap().iter().map(|seen| seen.phase).collect();
    assert_eq!(phases, [Phase::Running, Phase::Stopped, Phase::Running, Phase::Running, Phase::Running]);
    assert_eq!(azure.lock().unwrap().calls.len(), 4);
}

#[test]
fn views_stop_when_azure_throttles() {
    let azure = Azure::shared();
    let (aci, handles) = groups(&azure, 20);
    azure.lock().unwrap().reads_left = Some(99);
    assert!(aci.observe(&handles).unwrap().iter().all(|seen| seen.phase == Phase::Running));
    assert_eq!(azure.lock().unwrap().calls.len(), 2);
    azure.lock().unwrap().reads_left = None;
    azure.lock().unwrap().calls.clear();
    let one = "GET /subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/rg/providers/microsoft.containerinstance/\
               containergroups/";
    azure.lock().unwrap().overrides.push((one.to_owned(), 9, refusal(429, "TooManyRequests", "slow down")));
    assert!(aci.observe(&handles).unwrap().iter().all(|seen| seen.phase == Phase::Running));
    assert_eq!(azure.lock().unwrap().calls.len(), 2);
}

#[test]
fn what_a_list_lacks_is_asked_for() {
    let azure = Azure::shared();
    let (aci, handles) = groups(&azure, 6);
    let old: Vec<Handle> =
        handles.iter().map(|handle| Handle::new(1, handle.data.replace("made=1", "made=0"))).collect();
    azure.lock().unwrap().resources.retain(|path, _| !path.ends_with("i0003"));
    let phases: Vec<_> = aci.observe(&old).unwrap().iter().map(|seen| seen.phase).collect();
    assert_eq!(phases.iter().filter(|phase| **phase == Phase::Gone).count(), 1);
    assert_eq!(phases[3], Phase::Gone);
    // The whole resource group is gone.
    azure.lock().unwrap().resources.clear();
    assert!(aci.observe(&old).unwrap().iter().all(|seen| seen.phase == Phase::Gone));
    assert!(aci.list_owned(None).unwrap().machines.is_empty());
}

#[test]
fn the_inventory_has_pages() {
    let azure = Azure::shared();
    let (aci, handles) = groups(&azure, 5);
    azure.lock().unwrap().page_size = 2;
    azure.lock().unwrap().change("occopus-i0004", |group| group["tags"] = json!(null));
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = aci.list_owned(cursor.as_deref()).unwrap();
        listed.extend(page.machines.into_iter().map(|owned| owned.observed.handle));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, handles[..4]);
}
