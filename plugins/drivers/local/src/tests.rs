//! The driver on a fake host.

use occopus_sdk::Reaction;
use occopus_sdk::testing::{self, DriverHarness, FakeHost};
use serde_json::{Value, json};

use super::*;

fn local(section: Value) -> DriverHarness<Local> {
    testing::driver::<Local>(FakeHost::default(), section).unwrap()
}

fn end(instance_id: &str) {
    testing::host(|host| host.processes.get_mut(instance_id).unwrap().state = State::Exited);
}

#[test]
fn what_the_user_wrote_is_what_runs() {
    let local = local(json!({"type": "local", "directory": "/srv"}));
    let attributes = json!({"command": "serve --name 'a b'", "env": {"PORT": 80, "GONE": null}, "connections": []});
    let observed = local.create("i1", attributes).unwrap();
    assert_eq!((observed.phase, observed.handle.data.as_str()), (Phase::Running, "i1"));
    assert!(observed.addresses[0].value.starts_with("127."));

    let command = testing::host(|host| host.commands["i1"].clone());
    assert_eq!(command.argv, ["serve", "--name", "a b"]);
    assert_eq!(command.environment, [("PORT".to_owned(), "80".to_owned())]);
    assert_eq!(command.directory.as_deref(), Some("/srv"));
    assert!(command.labels.contains(&("occopus.instance".to_owned(), "i1".to_owned())));
}

#[test]
fn one_id_is_one_process() {
    let local = local(json!({}));
    let first = local.create("i1", json!({"command": ["a"]})).unwrap();
    let second = local.create("i1", json!({"command": ["a"]})).unwrap();
    assert_eq!(first.handle, second.handle);
    assert_eq!(testing::host(|host| host.processes.len()), 1);
}

#[test]
fn a_node_without_a_command_is_explained() {
    for attributes in [json!({}), json!({"command": null}), json!({"command": []}), json!({"command": ""})] {
        let fault = local(json!({})).create("i1", attributes).unwrap_err();
        assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::GiveUp, "local.no-command"));
        assert!(fault.details.iter().any(|detail| detail.message.contains("contextualisation")), "{fault:?}");
        assert_eq!(testing::host(|host| host.processes.len()), 0);
    }
}

#[test]
fn an_end_is_seen_and_says_where_the_output_is() {
    let local = local(json!({}));
    let running = local.create("i1", json!({"command": ["a"]})).unwrap().handle;
    let ended = local.create("i2", json!({"command": ["a"]})).unwrap().handle;
    end("i2");
    let absent = Handle::new(HANDLE_VERSION, "i3");
    let observed = local.observe(&[running, ended, absent]).unwrap();
    let phases: Vec<Phase> = observed.iter().map(|seen| seen.phase).collect();
    assert_eq!(phases, [Phase::Running, Phase::Stopped, Phase::Gone]);
    assert!(observed[1].message.as_ref().unwrap().contains("/fake/i2/output.log"));
    assert_eq!(observed[2].handle.data, "i3");
    assert!(local.observe(&[]).unwrap().is_empty());

    assert_eq!(local.find("i2").unwrap().unwrap().phase, Phase::Stopped);
    assert!(local.find("i3").unwrap().is_none());
}

#[test]
fn destroy_is_idempotent_and_the_inventory_shows_the_rest() {
    let local = local(json!({"stop_grace": 1}));
    let first = local.create("i1", json!({"command": ["a"]})).unwrap().handle;
    local.create("i2", json!({"command": ["a"]})).unwrap();
    local.destroy(&first).unwrap();
    local.destroy(&first).unwrap();
    let page = local.list_owned(None).unwrap();
    assert_eq!(page.machines.len(), 1);
    assert_eq!((page.machines[0].instance_id.as_str(), page.machines[0].infrastructure_id.as_str()), ("i2", "infra-1"));
}

#[test]
fn everything_in_the_section_is_optional_and_nothing_else_is_known() {
    let schema = testing::section_schema::<Section>();
    assert_eq!(schema.get("required"), None);
    assert_eq!(schema["additionalProperties"], json!(false));
    assert!(testing::driver::<Local>(FakeHost::default(), json!({"grace": 1})).is_err());
    assert!(testing::driver::<Local>(FakeHost::default(), json!({"stop_grace": -1})).is_err());
}
