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
fn an_end_is_seen_and_says_how_it_was() {
    let local = local(json!({}));
    let create = |id: &str| local.create(id, json!({"command": ["a"]})).unwrap().handle;
    let handles: Vec<Handle> = ["i1", "i2", "i3", "i4", "i5"].map(create).into();
    for (id, ending) in [("i2", Some(Ending::Status(3))), ("i3", Some(Ending::Signal(9))), ("i4", None)] {
        end(id);
        testing::host(|host| ending.map(|ending| host.endings.insert(id.to_owned(), ending)));
    }
    end("i5");
    testing::host(|host| host.endings.insert("i5".to_owned(), Ending::Status(0)));
    let absent = Handle::new(HANDLE_VERSION, "i6");
    let observed = local.observe(&[handles.as_slice(), &[absent]].concat()).unwrap();
    let seen: Vec<_> = observed.iter().map(|seen| (seen.phase, seen.message.as_deref())).collect();
    assert_eq!(
        seen,
        [
            (Phase::Running, None),
            (Phase::Stopped, Some("the process ended (exit status 3)")),
            (Phase::Stopped, Some("the process ended by signal 9")),
            (Phase::Stopped, Some("the process ended")),
            (Phase::Stopped, Some("the process ended (exit status 0)")),
            (Phase::Gone, None),
        ]
    );
    assert_eq!(observed[5].handle.data, "i6");
    assert!(local.observe(&[]).unwrap().is_empty());

    let found = local.find("i2").unwrap().unwrap();
    assert_eq!((found.phase, found.message.as_deref()), seen[1]);
    assert!(local.find("i6").unwrap().is_none());
}

#[test]
fn output_is_handed_over() {
    let local = local(json!({}));
    let handle = local.create("i1", json!({"command": ["a"]})).unwrap().handle;
    assert_eq!(local.tail(&handle, 2).unwrap(), "");
    testing::host(|host| host.outputs.insert("i1".to_owned(), "one\ntwo\nthree\n".to_owned()));
    assert_eq!(local.tail(&handle, 2).unwrap(), "two\nthree");
}

#[test]
fn a_section_is_checked_before_anything_runs() {
    let found = |section: Value, attributes: Value| -> Vec<String> {
        let found = local(section).check(attributes).unwrap();
        assert_eq!(testing::host(|host| host.processes.len()), 0);
        found.into_iter().map(|detail| format!("{} {}", detail.pointer, detail.message)).collect()
    };
    let fine = json!({"command": "serve --port 80", "env": ["A=1"]});
    assert!(found(json!({"directory": "/srv"}), fine.clone()).is_empty());
    assert!(found(json!({"directory": ""}), fine.clone())[0].starts_with("/directory "));
    assert!(found(json!({"directory": "a\0b"}), fine)[0].starts_with("/directory "));
    for (attributes, word) in [
        (json!({}), "no command"),
        (json!({"command": []}), "no command"),
        (json!({"command": "''"}), "empty"),
        (json!({"command": ["a\0"]}), "zero byte"),
        (json!({"command": "it's"}), "closing"),
        (json!({"command": "a", "env": {"A": "\0"}}), "`A`"),
        (json!({"command": "a", "env": ["=1"]}), "name of a variable"),
    ] {
        let found = found(json!({}), attributes.clone());
        assert!(found.first().is_some_and(|message| message.contains(word)), "{attributes}: {found:?}");
    }
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
