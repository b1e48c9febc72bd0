//! Conditions under which a server counts as gone: Nova says so, for its own project and region.

use super::*;

type NovaHarness = DriverHarness<Nova>;

#[test]
fn with_a_token_of_another_project_nothing_is_gone() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    let one = nova.create("instance-1", json!({})).unwrap().handle;
    let two = nova.create("instance-2", json!({})).unwrap().handle;
    cloud.lock().unwrap().project = Some("p-2");
    // The section says so, too: this is a new login.
    let nova = harness(&cloud, &json!({"project_id": "p-2"}), |_| {});
    for handles in [vec![one.clone()], vec![one.clone(), two.clone()], vec![one.clone(), two.clone(), one.clone()]] {
        let fault = nova.observe(&handles).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.reaction), ("nova.other-project", Reaction::Denied));
        assert!(fault.message.contains("belongs to project p-2, and the server server-"), "{fault}");
        assert!(fault.message.contains("was made in p-1"), "{fault}");
    }
    assert_eq!(nova.destroy(&one).unwrap_err().reaction, Reaction::Denied);
    let mine = nova.create("instance-3", json!({})).unwrap().handle;
    let seen = nova.observe(&[one.clone(), mine]).unwrap();
    assert_eq!((seen[0].phase, seen[1].phase), (Phase::Unknown, Phase::Running));
    // Of an old handle, the section says in which project it was made.
    assert_eq!(nova.observe(&[Handle::new(1, "gone")]).unwrap()[0].phase, Phase::Gone);
    assert_eq!(cloud.lock().unwrap().servers.len(), 3);
    // An application credential opens its own project, whatever the section says.
    let nova = harness(&cloud, &json!({}), |_| {});
    assert_eq!(nova.destroy(&Handle::new(1, "server-0")).unwrap_err().code, "nova.other-project");
}

#[test]
fn a_token_that_does_not_say_whose_it_is_proves_nothing() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    let made = nova.create("instance-1", json!({})).unwrap().handle;
    cloud.lock().unwrap().servers.clear();
    cloud.lock().unwrap().project = None;
    let application = harness(&cloud, &json!({}), |host| {
        host.credential.clear();
        for (field, value) in [("type", "application_credential"), ("id", "app-1"), ("secret", "s")] {
            host.credential.insert(field.to_owned(), value.to_owned());
        }
    });
    assert_eq!(application.destroy(&made).unwrap_err().code, "nova.unknown-project");
    // A password opens the project that was asked for.
    plain(&cloud).destroy(&made).unwrap();
}

#[test]
fn another_region_says_nothing() {
    let cloud = Shared::default();
    let made = plain(&cloud).create("instance-1", json!({})).unwrap().handle;
    cloud.lock().unwrap().servers.clear();
    cloud.lock().unwrap().region = "Two";
    let nova = plain(&cloud);
    for fault in [nova.observe(std::slice::from_ref(&made)).unwrap_err(), nova.destroy(&made).unwrap_err()] {
        assert_eq!((fault.code.as_str(), fault.reaction), ("nova.other-region", Reaction::Denied), "{fault}");
        assert!(fault.message.contains("region One") && fault.message.contains("region Two"), "{fault}");
    }
    cloud.lock().unwrap().region = "One";
    plain(&cloud).destroy(&made).unwrap();
}

#[test]
fn a_removal_is_confirmed() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    let made = nova.create("instance-1", json!({})).unwrap().handle;
    cloud.lock().unwrap().ignores_deletions = true;
    for handle in [made.clone(), Handle::new(1, "server-0")] {
        let fault = nova.destroy(&handle).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.reaction), ("nova.not-deleted", Reaction::Retry), "{fault}");
    }
    cloud.lock().unwrap().servers[0]["OS-EXT-STS:task_state"] = json!("deleting");
    cloud.lock().unwrap().calls.clear();
    nova.destroy(&made).unwrap();
    assert_eq!(cloud.lock().unwrap().calls.len(), 2, "a removal and a list");
    nova.destroy(&Handle::new(1, "server-0")).unwrap();
}

#[test]
fn handles_of_old_versions_are_renewed_by_what_is_seen() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    let made = nova.create("instance-1", json!({})).unwrap().handle;
    let seen = nova.observe(&[Handle::new(1, "server-0")]).unwrap();
    assert_eq!(seen[0].handle, made);
    // It is found though it has another name now.
    cloud.lock().unwrap().servers[0]["name"] = json!("renamed");
    assert_eq!(nova.observe(std::slice::from_ref(&made)).unwrap()[0].handle, made);
}

#[test]
fn what_is_missing_elsewhere_is_no_missing_server() {
    let cloud = Shared::default();
    let nova = harness(&cloud, &json!({"floating_ip": "yes"}), |_| {});
    let made = nova.create("instance-1", json!({})).unwrap().handle;
    cloud.lock().unwrap().servers[0]["addresses"] = json!({});
    let absent = (404, Vec::new(), json!({"NeutronError": {"type": "X", "message": "no such thing", "detail": ""}}));
    cloud.lock().unwrap().overrides.insert("GET neutron/v2.0/floatingips", absent);
    assert_eq!(nova.observe(std::slice::from_ref(&made)).unwrap_err().reaction, Reaction::Retry);
    assert_eq!(nova.destroy(&made).unwrap_err().reaction, Reaction::Retry);
    assert_eq!(cloud.lock().unwrap().servers.len(), 1);
}

#[test]
fn a_creation_that_came_twice_is_one_server_after_any_look() {
    for (others, remove) in [
        (
            0,
            (|nova: &NovaHarness, made: &Handle| drop(nova.observe(std::slice::from_ref(made)).unwrap()))
                as fn(&NovaHarness, &Handle),
        ),
        (3, |nova, made| {
            let others = ["other-0", "other-1"].map(|id| nova.find(id).unwrap().unwrap().handle);
            drop(nova.observe(&[made.clone(), others[0].clone(), others[1].clone()]).unwrap());
        }),
        (0, |nova, made| nova.destroy(made).unwrap()),
    ] {
        let cloud = Shared::default();
        let nova = plain(&cloud);
        for other in 0..others {
            nova.create(&format!("other-{other}"), json!({})).unwrap();
        }
        cloud.lock().unwrap().duplicates_creations = true;
        let made = nova.create("instance-1", json!({})).unwrap().handle;
        assert_eq!(cloud.lock().unwrap().servers.len(), others + 2);
        remove(&nova, &made);
        let cloud = cloud.lock().unwrap();
        let left: Vec<_> = cloud.servers.iter().skip(others).filter_map(|server| server["id"].as_str()).collect();
        assert!(left.iter().all(|id| made.data.split(' ').next() == Some(*id)), "{left:?}, {made:?}");
        assert!(left.len() <= 1, "{left:?}");
    }
}
