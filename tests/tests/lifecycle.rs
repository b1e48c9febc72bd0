//! Changing, attaching and detaching, by the commands of a user.

use occopus_tests::Occopus;
use occopus_tests::processes::{kill_instance, processes_with, unique_sleep_seconds};
use occopus_tests::wait::wait_for;

/// Writes a description in which `web` gets the address of `db`.
fn write(occopus: &Occopus, mark: &str, greeting: &str) {
    occopus.write(
        "infra.yaml",
        format!(
            "infra_name: pair\nuser_id: tester\nvariables: {{greeting: {greeting}}}\nnodes:\n\
             - {{name: db, type: sleeper}}\n- {{name: web, type: told, scaling: {{min: 2, max: 4}}}}\n\
             dependencies:\n- [web, db]\n"
        ),
    );
    let sleeper = |attributes: &str| {
        format!(
            "\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    attributes:\n      \
             command: [sleep, '{mark}']\n      {attributes}\n  health_check: {{ping: false}}\n"
        )
    };
    let told = sleeper("env: [\"DB={{getip('db')}}\", \"GREETING={{variables.greeting}}\"]");
    let definitions = format!("'node_def:sleeper':{}'node_def:told':{told}", sleeper(""));
    occopus.write("nodes/node_definitions.yaml", definitions);
}

/// Builds it. Returns its home, the argument that its processes have, and its id.
fn built(test: u32) -> (Occopus, String, String) {
    let (occopus, mark) = (Occopus::new(), unique_sleep_seconds(test));
    write(&occopus, &mark, "hello");
    let id = occopus.ok(["build", "infra.yaml"]).id();
    (occopus, mark, id)
}

fn ids(occopus: &Occopus, id: &str) -> Vec<String> {
    let status = occopus.status(id);
    let nodes = status["nodes"].as_array().expect("nodes").iter();
    let instances = nodes.flat_map(|node| node["instances"].as_array().expect("instances"));
    instances.map(|instance| instance["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn a_change_is_shown_and_renews_when_asked() {
    let (occopus, mark, id) = built(21);
    let before = ids(&occopus, &id);
    write(&occopus, &mark, "bye");
    let plan = occopus.ok(["plan", "-i", &id, "infra.yaml"]);
    assert!(plan.stdout.contains("3 drifted, not selected for replacement"), "{}", plan.stdout);
    let built = occopus.ok(["build", "-i", &id, "infra.yaml"]);
    assert!(built.stderr.contains("--replace changed"), "{}", built.stderr);
    assert_eq!(ids(&occopus, &id), before, "nothing is touched unasked");
    assert_eq!(occopus.status(&id)["nodes"][0]["instances"][0]["changed"][0], "variables");
    let renewed = occopus.ok(["build", "-i", &id, "infra.yaml", "--replace", "changed"]);
    assert!(renewed.stderr.contains("db: renewing"), "{}", renewed.stderr);
    let after = ids(&occopus, &id);
    assert_eq!((after.len(), processes_with(&mark)), (3, 3));
    assert!(before.iter().all(|old| !after.contains(old)));
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn dependents_of_what_was_replaced_are_shown_and_renewed_when_asked() {
    let (occopus, mark, id) = built(22);
    let before = ids(&occopus, &id);
    kill_instance(&before[0]);
    let healed = occopus.ok(["maintain", "-i", &id]);
    assert_eq!(healed.stdout.matches("which is gone").count(), 2, "{}", healed.stdout);
    occopus.ok(["build", "-i", &id, "infra.yaml", "--replace", "dependents"]);
    assert!(!occopus.ok(["status", "-i", &id]).stdout.contains("which is gone"));
    assert_eq!(processes_with(&mark), 3);
    occopus.ok(["destroy", "-i", &id]);
}

#[test]
fn a_type_that_is_no_longer_described_goes_in_order() {
    let (occopus, mark, id) = built(23);
    // Neither the node nor its type is left: instances keep what is needed to remove them.
    let all = std::fs::read_to_string(occopus.directory().join("nodes/node_definitions.yaml")).expect("definitions");
    occopus.write("nodes/node_definitions.yaml", all.split("'node_def:told'").next().expect("the first"));
    occopus.write("infra.yaml", "infra_name: pair\nuser_id: tester\nnodes:\n- {name: db, type: sleeper}\n");
    let plan = occopus.ok(["plan", "-i", &id, "infra.yaml"]);
    assert!(plan.stdout.contains("2 to destroy"), "{}", plan.stdout);
    occopus.ok(["build", "-i", &id, "infra.yaml"]);
    assert_eq!(processes_with(&mark), 1);
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn attached_it_is_healed_and_detached_it_is_not() {
    let (occopus, mark, id) = built(24);
    let attached = occopus.ok(["attach", "-i", &id, "-t", "0.2"]);
    assert!(attached.stdout.contains("maintains"), "{}", attached.stdout);
    let twice = occopus.run(["attach", "-i", &id]);
    assert_eq!(twice.code, Some(4), "{}", twice.stderr);
    let status = || occopus.status(&id).to_string();
    kill_instance(&ids(&occopus, &id)[2]);
    wait_for("it is healed", status, || (processes_with(&mark) == 3).then_some(()));
    // The owner carries out the request.
    occopus.ok(["scale", "-i", &id, "-n", "web", "-s", "3"]);
    wait_for("it is scaled", status, || (processes_with(&mark) == 4).then_some(()));
    assert!(occopus.ok(["detach", "-i", &id]).stdout.contains("no longer maintained"));
    assert!(occopus.ok(["detach", "-i", &id]).stdout.contains("is not maintained"));
    assert_eq!(processes_with(&mark), 4, "it runs on");
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(processes_with(&mark), 0);
    assert_eq!(occopus.run(["attach", "-i", &id]).code, Some(1));
}

#[test]
fn a_hold_of_what_another_process_maintains_is_ended_as_its_status_says() {
    let (occopus, mark, id) = built(29);
    ids(&occopus, &id).iter().take(2).for_each(|victim| kill_instance(victim));
    occopus.ok(["attach", "-i", &id, "-t", "0.2"]);
    let status = || occopus.status(&id).to_string();
    wait_for("it is held", status, || (occopus.status(&id)["state"] == "held").then_some(()));
    let advice = format!("occopus maintain -i {id} --release");
    assert!(occopus.ok(["status", "-i", &id]).stdout.contains(&advice));
    let released = occopus.ok(advice.split(' ').skip(1));
    assert!(released.stderr.contains("ends the hold at its next pass"), "{}", released.stderr);
    wait_for("it is healed", status, || (processes_with(&mark) == 3).then_some(()));
    occopus.ok(["detach", "-i", &id]);
    occopus.ok(["destroy", "-i", &id]);
}

#[test]
fn requests_against_what_is_gone_are_refused() {
    let (occopus, _, id) = built(25);
    occopus.ok(["destroy", "-i", &id]);
    for command in ["scale -n web -c 1", "suspend", "resume", "maintain", "detach", "attach", "destroy", "events"] {
        let mut words = command.split(' ');
        let name = words.next().expect("a command");
        let refused = occopus.run([name, "-i", &id].into_iter().chain(words));
        assert_eq!(refused.code, Some(1), "{command}: {}", refused.stderr);
        assert!(refused.stderr.contains("there is no infrastructure"), "{command}: {}", refused.stderr);
    }
}

#[test]
fn a_store_edited_by_hand_is_a_clear_error_and_loses_nothing() {
    let (occopus, mark, id) = built(26);
    let store = rusqlite::Connection::open(occopus.home().join("store.db")).expect("the store");
    let victim = ids(&occopus, &id).remove(0);
    let read = "SELECT key, value FROM entry WHERE key LIKE '%/' || ?1";
    let (key, whole): (String, Vec<u8>) =
        store.query_row(read, [&victim], |row| Ok((row.get(0)?, row.get(1)?))).expect("the record");
    let write =
        |value: &[u8]| store.execute("UPDATE entry SET value = ?2 WHERE key = ?1", (&key, value)).expect("written");
    for (broken, word) in [(b"{".as_slice(), "cannot read"), (b"{\"v\":999}", "newer")] {
        write(broken);
        for command in ["status", "maintain", "destroy"] {
            let refused = occopus.run([command, "-i", &id]);
            assert_eq!(refused.code, Some(1), "{command}: {}", refused.stderr);
            assert!(refused.stderr.contains(word) && refused.stderr.contains(&victim), "{}", refused.stderr);
        }
        assert_eq!(processes_with(&mark), 3, "nothing is touched");
    }
    write(&whole);
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(processes_with(&mark), 0);
}

/// Replaces the version of the contract in a compiled component by one that does not exist.
fn with_other_contract(component: &[u8]) -> Vec<u8> {
    let (from, to) = (b"/nodes@0.1.0", b"/nodes@9.1.0");
    let mut bytes = component.to_vec();
    let places: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    bytes
}

#[test]
fn a_plugin_that_is_replaced_under_what_runs() {
    let occopus = Occopus::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/plugins/0.1.0/driver.wasm");
    let component = std::fs::read(fixture).expect("the fixture");
    occopus.write("home/plugins/mine.wasm", &component);
    occopus.write("infra.yaml", "infra_name: a\nuser_id: tester\nnodes:\n- {name: n, type: t}\n");
    let definitions = "'node_def:t':\n- resource: {type: fixture-driver}\n  health_check: {ping: false}\n";
    occopus.write("nodes/node_definitions.yaml", definitions);
    let id = occopus.ok(["build", "infra.yaml"]).id();
    let before = ids(&occopus, &id);
    for broken in [with_other_contract(&component), b"no component".to_vec()] {
        occopus.write("home/plugins/mine.wasm", broken);
        assert_eq!(ids(&occopus, &id), before, "what only reads still works");
        let maintained = occopus.run(["maintain", "-i", &id]);
        assert!(
            maintained.stderr.contains("mine.wasm") && !maintained.stderr.contains("panicked"),
            "{}",
            maintained.stderr
        );
        let destroyed = occopus.run(["destroy", "-i", &id]);
        assert_ne!(destroyed.code, Some(0), "{}", destroyed.stdout);
        assert!(destroyed.stderr.contains("fixture-driver"), "{}", destroyed.stderr);
        assert_eq!(ids(&occopus, &id), before, "its record stays");
    }
    occopus.write("home/plugins/mine.wasm", &component);
    occopus.ok(["destroy", "-i", &id]);
}
