//! Mistakes that are refused before anything is made, and the output of servers.

use super::*;

fn mistakes(change: &Value, user_data: Option<Vec<u8>>) -> Vec<(String, String)> {
    let nova = testing::driver::<Nova>(FakeHost::default(), section(change)).unwrap();
    testing::host(|host| host.user_data = user_data);
    let found = nova.check(json!({})).unwrap();
    assert!(testing::host(|host| host.requests.is_empty()));
    found.into_iter().map(|detail| (detail.pointer, detail.message)).collect()
}

#[test]
fn mistakes_are_told_at_their_places() {
    for good in [
        json!({}),
        json!({"network_id": "", "key_name": null, "server_name": "", "security_groups": ["default", ""]}),
        json!({"network_id": "11111111-2222-3333-4444-555555555555", "floating_ip": "yes", "flavor_name": 4}),
        json!({"network_id": "11111111222233334444555555555555", "volume_size": 0, "volume_persist": true}),
        json!({"endpoint": "keystone:5000"}),
    ] {
        assert_eq!(mistakes(&good, Some(vec![b'a'; 49_149])), [], "{good}");
    }
    for (change, pointer, said) in [
        (json!({"endpoint": "replace_with_endpoint"}), "/endpoint", "write the URL of Keystone"),
        (json!({"image_id": " "}), "/image_id", "it is empty"),
        (json!({"flavor_name": ""}), "/flavor_name", "it is empty"),
        (json!({"network_id": "private"}), "/network_id", "`private` is not the id of a network"),
        (json!({"server_name": "x".repeat(256)}), "/server_name", "256 characters"),
        (json!({"key_name": "x".repeat(256)}), "/key_name", "256 characters"),
        (json!({"security_groups": ["a", "x".repeat(256)]}), "/security_groups/1", "255 characters"),
    ] {
        let found = mistakes(&change, None);
        assert_eq!((found.len(), found[0].0.as_str()), (1, pointer), "{change}: {found:?}");
        assert!(found[0].1.contains(said), "{change}: {found:?}");
    }
    let long = mistakes(&json!({}), Some(vec![b'a'; 49_152]));
    assert_eq!(long[0].0, "#user-data");
    assert!(long[0].1.contains("has 65536 bytes in base64; Nova takes 65535 at most"), "{long:?}");
}

#[test]
fn the_console_is_evidence_and_never_in_the_way() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    let made = nova.create("instance-1", json!({})).unwrap().handle;
    assert_eq!(nova.tail(&made, 10).unwrap(), "booting\nout of memory\nafter 10 lines");
    assert_eq!(nova.tail(&made, 1).unwrap(), "after 1 lines");
    for (status, reaction) in [
        (400, Reaction::Unsupported),
        (403, Reaction::Unsupported),
        (409, Reaction::Unsupported),
        (501, Reaction::Unsupported),
        (503, Reaction::Retry),
    ] {
        cloud.lock().unwrap().overrides.insert("POST nova/v2.1/servers/", refusal(status, "no"));
        assert_eq!(nova.tail(&made, 10).unwrap_err().reaction, reaction, "{status}");
    }
    let gone = (404, Vec::new(), json!({"itemNotFound": {"code": 404, "message": "Instance could not be found."}}));
    cloud.lock().unwrap().overrides.insert("POST nova/v2.1/servers/", gone);
    assert_eq!(nova.tail(&made, 10).unwrap_err().reaction, Reaction::Unsupported);
}
