//! The file of the store, as its operator uses it.

use occopus_tests::Occopus;
use occopus_tests::processes::write_sleeper;

#[test]
fn a_damaged_store_is_told_can_be_read_and_takes_no_writes() {
    let occopus = Occopus::new();
    write_sleeper(&occopus, "sleep 100000", "ping: false");
    occopus.write("infra.yaml", "infra_name: kept\nuser_id: me\nnodes:\n- {name: a, type: sleeper}\n");
    let many: String = (0..500).map(|at| format!("'node_def:t{at}':\n- resource: {{type: local}}\n")).collect();
    occopus.write("many.yaml", many);
    occopus.ok(["import", "many.yaml"]);
    let said = occopus.ok(["store", "check"]).stdout;
    assert!(said.contains("entries in") && said.contains("no damage found"), "{said}");
    let checked = occopus.ok(["store", "check", "--output", "json"]).stdout;
    assert!(checked.contains("\"problems\": []"), "{checked}");
    occopus.ok(["store", "compact"]);

    let file = std::fs::read_dir(occopus.home()).expect("a home").flatten().map(|entry| entry.path());
    let path = file.into_iter().find(|path| path.extension().is_some_and(|end| end == "db")).expect("a store");
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 40].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&path, &bytes).expect("written");
    let failed = occopus.run(["store", "check"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stdout);
    assert!(failed.stderr.contains("is damaged") && failed.stderr.contains("backup"), "{}", failed.stderr);
    // As after a power failure.
    std::fs::write(path.with_extension("db-users"), "written\n").expect("written");
    let refused = occopus.run(["build", "infra.yaml", "-i", "kept"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("nothing is written to it"), "{}", refused.stderr);
    let listed = occopus.run(["status"]);
    assert!(listed.stderr.contains("is damaged"), "it says so: {}", listed.stderr);
    // The home must not destroy anything at the end of the test.
    std::fs::remove_file(&path).expect("removed");
}
