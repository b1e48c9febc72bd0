//! Names, handles and tags.

use occopus_sdk::Handle;
use serde_json::json;

use super::section;
use crate::handle::Reference;
use crate::names;
use crate::section::Section;

const ID: &str = "0190f7a2-0000-7000-8000-00000000000a";
const INFRASTRUCTURE: &str = "11111111-2222-4333-8444-555555555555";

fn read(changes: &serde_json::Value) -> Section {
    serde_json::from_value(section(changes)).unwrap()
}

#[test]
fn names_keep_to_azures_limits() {
    assert_eq!(names::machine(ID), format!("occopus-{ID}"));
    let part = names::part(INFRASTRUCTURE, ID);
    assert_eq!(part, "occ-11111111222243338444555555555555.0190f7a200007000800000000000000a");
    assert!(part.len() + "-1a2b3c4d".len() <= 80, "Azure adds to the names of cards, and takes 80 characters: {part}");
    let rules = names::rules(INFRASTRUCTURE, "germanywestcentral", &[22, 80, 443, 8080]);
    assert!(rules.len() <= 80, "{rules}");
    for odd in ["a/b", "", "x".repeat(37).as_str(), "ä", "a b"] {
        let name = names::machine(odd);
        assert!(name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
    }
}

#[test]
fn owners_are_read_from_names() {
    let part = names::part(INFRASTRUCTURE, ID);
    for name in [part.clone(), format!("{part}-1a2b3c4d"), part.to_uppercase()] {
        assert_eq!(names::owner_of_part(&name), Some((INFRASTRUCTURE.to_owned(), ID.to_owned())), "{name}");
    }
    assert_eq!(names::owner_of_part("occ-infra-1.one"), Some(("infra-1".to_owned(), "one".to_owned())));
    for name in ["", "occ-", "occ-a", "occ-a.", "other", "ö", "occöx.y"] {
        assert_eq!(names::owner_of_part(name), None, "{name}");
    }
    assert_eq!(names::instance_of(&format!("OCCOPUS-{ID}")), Some(ID));
    for name in ["occopus-", "other", "", "öccopus-x"] {
        assert_eq!(names::instance_of(name), None, "{name}");
    }
    let network = names::network("infra-1", "westeurope");
    assert_eq!(names::owner_of_network(&network, "West Europe"), Some("infra-1"));
    assert_eq!(names::owner_of_network(&network, "eastus"), None);
    assert_eq!(names::owner_of_network("other", "eastus"), None);
}

#[test]
fn machines_have_names_for_themselves() {
    let linux = read(&json!({}));
    let windows = read(&json!({"publisher": "MicrosoftWindowsServer"}));
    assert_eq!(names::computer(&linux, "ping-sender", ID), "ping-sender-00000000000a");
    assert_eq!(names::computer(&windows, "ping-sender", ID), "ping-s-0000000a");
    for node in ["", "---", "a_b", "x".repeat(100).as_str(), "ünïcode", "1.2.3", "-a-"] {
        for (section, windows) in [(&linux, false), (&windows, true)] {
            let name = names::computer(section, node, ID);
            assert_eq!(names::computer_mistake(&name, windows), None, "{node}: {name}");
        }
    }
    let own = read(&json!({"server_name": "web"}));
    assert_eq!(names::computer(&own, "node", ID), "web");
    for (name, windows) in [
        ("x".repeat(65), false),
        ("x".repeat(16), true),
        ("a_b".into(), false),
        ("a.b".into(), true),
        ("12345".into(), true),
        ("-a".into(), false),
        ("a-".into(), false),
        ("a b".into(), true),
    ] {
        assert!(names::computer_mistake(&name, windows).is_some(), "{name}");
    }
}

#[test]
fn handles_are_read_as_they_were_written() {
    let full = Reference {
        name: "occopus-x".to_owned(),
        subscription: "s-1".to_owned(),
        group: "Group (one)".to_owned(),
        location: "westeurope".to_owned(),
        infrastructure: "infra%1".to_owned(),
    };
    let handle = full.handle();
    assert_eq!(
        handle.data,
        "occopus-x subscription=s-1 group=Group%20%28one%29 location=westeurope infrastructure=infra%251"
    );
    assert_eq!(Reference::of(&handle), full);
    assert_eq!(Reference::of(&Handle::new(1, "")), Reference::default());
    let odd = Reference::of(&Handle::new(9, "a%zz% b=c group=%ff later=x"));
    assert_eq!((odd.name.as_str(), odd.group.as_str()), ("a%zz%", "%ff"));
}

/// Checks a machine as the real service lists it: its group in capitals, and without tags.
#[test]
fn references_are_the_same_however_azure_spells_a_group() {
    let section = read(&json!({}));
    let part = names::part(INFRASTRUCTURE, ID);
    let shown = json!({
        "name": names::machine(ID), "location": "westeurope", "type": "Microsoft.Compute/virtualMachines", "tags": null,
        "id": format!("/subscriptions/s/resourceGroups/DEMO/providers/Microsoft.Compute/virtualMachines/{}", names::machine(ID)),
        "properties": {"vmId": "v", "provisioningState": "Succeeded", "storageProfile": {"osDisk": {"name": part, "osType": "Linux"}}},
    });
    let machine: crate::machine::Machine = serde_json::from_value(shown).unwrap();
    let reference = machine.reference("s", &section);
    assert_eq!(
        (reference.group.as_str(), reference.location.as_str(), reference.infrastructure.as_str()),
        ("demo", "westeurope", INFRASTRUCTURE)
    );
    assert_eq!(machine.instance(), Some(ID));
    assert!(machine.may_belong_to(ID));
}
