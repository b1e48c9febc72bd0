//! Deployments as processes on this machine: needs only the binary.

use std::path::Path;
use std::time::{Duration, Instant};

use occopus_tests::processes::{kill_instance, processes_with, signal, unique_sleep_seconds, write_sleeper};
use occopus_tests::wait::eventually;
use occopus_tests::{Occopus, kill_builds};

/// Writes a description of `count` sleeping processes in a row: each depends on the one before it.
fn write_chain(occopus: &Occopus, count: usize, mark: &str) -> &'static str {
    let mut description = String::from("infra_name: chain\nuser_id: tester\nnodes:\n");
    for at in 0..count {
        description += &format!("- {{name: n{at}, type: sleeper}}\n");
    }
    if count > 1 {
        description += "dependencies:\n";
        for at in 1..count {
            description += &format!("- [n{at}, n{}]\n", at - 1);
        }
    }
    occopus.write("infra.yaml", description);
    write_sleeper(occopus, &format!("exec sleep {mark}"), "ping: false");
    "infra.yaml"
}

/// Returns a home with such a description, the argument that its processes have, and its file.
fn chain(test: u32, count: usize) -> (Occopus, String, &'static str) {
    let (occopus, mark) = (Occopus::new(), unique_sleep_seconds(test));
    let file = write_chain(&occopus, count, &mark);
    (occopus, mark, file)
}

#[test]
fn processes_outlive_the_program_and_end_with_destroy() {
    let (occopus, mark, file) = chain(1, 3);
    let id = occopus.ok(["build", file]).id();
    assert_eq!(processes_with(&mark), 3);
    let status = occopus.status(&id);
    let mut addresses: Vec<_> = (0..3)
        .map(|at| status["nodes"][at]["instances"][0]["addresses"][0]["value"].as_str().expect("address").to_owned())
        .collect();
    assert!(addresses.iter().all(|address| address.starts_with("127.")), "{addresses:?}");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 3, "each has an address of its own");
    occopus.ok(["maintain", "-i", &id]);
    assert_eq!(processes_with(&mark), 3, "maintaining what is well changes nothing");
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(processes_with(&mark), 0);
    assert_eq!(occopus.run(["status", "-i", &id]).code, Some(1));
}

#[test]
fn kill_at_any_moment_loses_and_doubles_nothing() {
    let mark = unique_sleep_seconds(2);
    kill_builds(&|occopus| write_chain(occopus, 5, &mark), 5, &|_| processes_with(&mark));
}

#[test]
fn a_killed_node_is_replaced() {
    let (occopus, mark, file) = chain(3, 2);
    let id = occopus.ok(["build", file]).id();
    let before = occopus.status(&id);
    let victim = before["nodes"][1]["instances"][0]["id"].as_str().expect("an id").to_owned();
    kill_instance(&victim);
    occopus.ok(["maintain", "-i", &id]);
    let after = occopus.status(&id);
    assert_eq!(after["nodes"][0]["instances"][0]["id"], before["nodes"][0]["instances"][0]["id"]);
    assert_ne!(after["nodes"][1]["instances"][0]["id"], victim.as_str());
    assert_eq!(after["nodes"][1]["instances"][0]["state"], "ready");
    assert_eq!(processes_with(&mark), 2);
    occopus.ok(["destroy", "-i", &id]);
}

#[test]
fn a_plan_that_asks_first_says_what_the_next_pass_does() {
    let (occopus, mark, file) = chain(51, 2);
    let id = occopus.ok(["build", file]).id();
    let before = occopus.status(&id);
    kill_instance(before["nodes"][1]["instances"][0]["id"].as_str().expect("an id"));
    let kinds = |words: &[&str]| -> Vec<String> {
        let plan = occopus.ok(["plan", "-i", &id, file, "--output", "json"].iter().chain(words));
        let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
        let actions = plan["actions"].as_array().expect("actions");
        actions.iter().map(|action| action["kind"].as_str().expect("a kind").to_owned()).collect()
    };
    assert_eq!(kinds(&[]), ["check", "check"], "the last observations");
    let refreshed = kinds(&["--refresh"]);
    assert!(refreshed.len() == 2 && refreshed != ["check", "check"], "{refreshed:?}");
    assert_eq!(kinds(&[]), refreshed, "these are the last observations now");
    assert_eq!(occopus.status(&id)["nodes"][1]["instances"][0]["state"], "stopped");
    assert_eq!(processes_with(&mark), 1, "a plan changes nothing");
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(occopus.run(["plan", "--refresh", file]).code, Some(2), "of what?");
    occopus.ok(["plan", "-i", "not-yet", "--refresh", file]);
}

#[test]
fn a_node_that_never_gets_healthy_is_rolled_back() {
    let (occopus, mark, file) = chain(4, 2);
    write_sleeper(&occopus, &format!("exec sleep {mark}"), "ping: false\n    ports: [9]\n    timeout: 2");
    let began = Instant::now();
    let built = occopus.run(["build", file]);
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(built.stderr.contains("n0"), "{}", built.stderr);
    assert_eq!(processes_with(&mark), 0, "nothing is left behind");
}

#[test]
fn a_program_that_does_not_exist_is_rolled_back() {
    let (occopus, _, file) = chain(5, 1);
    write_sleeper(&occopus, "x", "ping: false");
    let definitions = occopus.directory().join("nodes/node_definitions.yaml");
    let text = std::fs::read_to_string(&definitions).expect("definitions");
    std::fs::write(&definitions, text.replace("[sh, -c, 'x']", "[/no/such/program]")).expect("written");
    let built = occopus.run(["build", file]);
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(built.stderr.contains("/no/such/program"), "{}", built.stderr);
}

#[test]
fn a_process_that_ends_is_told_with_its_exit_status() {
    let occopus = Occopus::new();
    let file = write_chain(&occopus, 1, &unique_sleep_seconds(10));
    for (script, words) in
        [("echo reason >&2; exit 3", "exit status 3"), ("exit 0", "exit status 0"), ("kill -9 $$", "signal 9")]
    {
        write_sleeper(&occopus, script, "ping: false\n    ports: [9]\n    timeout: 20");
        let built = occopus.run(["build", file]);
        assert_eq!(built.code, Some(1), "{}", built.stderr);
        assert!(built.stderr.contains(words), "{script}: {}", built.stderr);
        assert!(!built.stderr.contains("output.log"), "a file that is gone: {}", built.stderr);
    }
}

#[test]
fn a_node_does_not_hold_a_lock_of_the_script_that_built_it() {
    let (occopus, mark, file) = chain(11, 1);
    let script = format!("exec 9>lock; flock 9; exec '{}' build -i locked {file}", occopus.program().display());
    let mut command = std::process::Command::new("sh");
    let built = command.args(["-c", &script]).current_dir(occopus.directory()).env("OCCOPUS_HOME", occopus.home());
    assert!(built.output().expect("sh runs").status.success());
    assert_eq!(processes_with(&mark), 1);
    let free =
        std::process::Command::new("flock").args(["-n", "lock", "true"]).current_dir(occopus.directory()).status();
    assert!(free.expect("flock runs").success(), "the node holds the lock");
    occopus.ok(["destroy", "-i", "locked"]);
}

#[test]
fn output_is_kept_short_when_no_program_runs() {
    let (occopus, mark, file) = chain(13, 1);
    write_sleeper(&occopus, &format!("sleep 2; head -c 30000000 /dev/zero; exec sleep {mark}"), "ping: false");
    let id = occopus.ok(["build", file]).id();
    let status = occopus.status(&id);
    let output = status["nodes"][0]["instances"][0]["attributes"].to_string();
    let output = output.split('"').find(|text| text.ends_with("output.log")).expect("a file").to_owned();
    let size = |path: &str| std::fs::metadata(path).map_or(0, |found| found.len());
    eventually("the output is cut", || size(&format!("{output}.1")) > 0 && size(&output) <= 10 << 20);
    assert!(size(&format!("{output}.1")) <= 11 << 20);
    occopus.ok(["destroy", "-i", &id]);
    let directory = occopus.home().join("processes");
    let directory = directory.display().to_string();
    eventually("what was left behind ends with the last node", || processes_with(&directory) == 0);
}

#[test]
fn logs_are_read_across_a_file_that_became_too_long() {
    let (occopus, mark, file) = chain(12, 1);
    write_sleeper(&occopus, &format!("echo second; exec sleep {mark}"), "ping: false");
    let id = occopus.ok(["build", file]).id();
    let status = occopus.status(&id);
    let output = status["nodes"][0]["instances"][0]["attributes"].to_string();
    let output = output.split('"').find(|text| text.ends_with("output.log")).expect("a file").to_owned();
    std::fs::write(format!("{output}.1"), "first\n").expect("written");
    assert_eq!(occopus.ok(["logs", "-i", &id, "n0"]).stdout, "first\nsecond\n");
    occopus.ok(["destroy", "-i", &id]);
}

#[test]
fn what_is_suspended_is_left_alone() {
    let (occopus, mark, file) = chain(9, 1);
    let id = occopus.ok(["build", file]).id();
    occopus.ok(["suspend", "-i", &id]);
    assert!(occopus.ok(["status", "-i", &id]).stdout.contains("suspended"));
    kill_instance(occopus.status(&id)["nodes"][0]["instances"][0]["id"].as_str().expect("an id"));
    occopus.ok(["maintain", "-i", &id]);
    assert_eq!(processes_with(&mark), 0);
    occopus.ok(["resume", "-i", &id]);
    occopus.ok(["maintain", "-i", &id]);
    assert_eq!(processes_with(&mark), 1);
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(occopus.run(["suspend", "-i", &id]).code, Some(1));
}

#[test]
fn nodes_are_scaled() {
    let occopus = Occopus::new();
    let mark = unique_sleep_seconds(8);
    occopus.write(
        "infra.yaml",
        "infra_name: scaled\nuser_id: tester\nnodes:\n- {name: web, type: sleeper, scaling: {min: 1, max: 4}}\n",
    );
    write_sleeper(&occopus, &format!("exec sleep {mark}"), "ping: false");
    let id = occopus.ok(["build", "infra.yaml"]).id();
    occopus.ok(["scale", "-i", &id, "-n", "web", "-c", "2"]);
    assert_eq!(processes_with(&mark), 3);
    let status = occopus.status(&id);
    let first = status["nodes"][0]["instances"][0]["addresses"][0]["value"].as_str().expect("an address").to_owned();
    occopus.ok(["scale", "--infraid", &id, "--node", "web", "--filter", &first]);
    assert_eq!(processes_with(&mark), 2);
    assert!(!occopus.status(&id)["nodes"].to_string().contains(&first));
    let later = occopus.ok(["scale", "-i", &id, "-n", "web", "-s", "4", "--later"]);
    assert!(later.stdout.contains("maintain"), "{}", later.stdout);
    assert_eq!(processes_with(&mark), 2);
    occopus.ok(["maintain", "-i", &id]);
    assert_eq!(processes_with(&mark), 4);
    for (arguments, code, word) in [
        (["-n", "web", "-c", "1"], 1, "allows 1 to 4"),
        (["-n", "web", "-s", "9"], 1, "allows 1 to 4"),
        (["-n", "wbe", "-s", "2"], 2, "it has web"),
        (["-n", "web", "-c", "0"], 2, "changes nothing"),
        (["-n", "web", "-f", "10.9.9.9"], 1, "no instance"),
    ] {
        let refused = occopus.run(["scale", "-i", &id].into_iter().chain(arguments));
        assert_eq!(refused.code, Some(code), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(word), "{arguments:?}: {}", refused.stderr);
    }
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn two_builds_of_one_id_at_once() {
    let (occopus, mark, file) = chain(6, 4);
    // The owner is stopped in the middle, so that the second one meets it for certain.
    let script = format!("sleep 1; exec sleep {mark}");
    write_sleeper(&occopus, &script, "ping: false\n    ports: [9]\n    timeout: 20");
    let mut first = occopus.start(["build", "-i", "shared", file]);
    eventually("the first build is under way", || occopus.run(["status", "-i", "shared"]).code == Some(0));
    let second = occopus.run(["build", "-i", "shared", file]);
    assert_eq!(second.code, Some(4), "{}", second.stderr);
    signal(first.id(), "INT");
    assert_eq!(first.wait().expect("ends").code(), Some(130));
    assert_eq!(processes_with(&mark), 0, "Ctrl-C rolls back");
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_unharmed() {
    let (occopus, mark, file) = chain(7, 1);
    let id = occopus.ok(["build", file]).id();
    occopus.ok(["destroy", "-i", &id]);
    let store = find_store(&occopus.home());
    set_version(&store, 9_999);
    let refused = occopus.run(["build", file]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("newer"), "{}", refused.stderr);
    assert_eq!(version(&store), 9_999);
    assert_eq!(processes_with(&mark), 0);
}

fn set_version(store: &Path, version: u32) {
    let store = rusqlite::Connection::open(store).expect("the store");
    store.pragma_update(None, "user_version", version).expect("written");
}

fn version(store: &Path) -> u32 {
    let store = rusqlite::Connection::open(store).expect("the store");
    store.pragma_query_value(None, "user_version", |row| row.get(0)).expect("read")
}

fn find_store(home: &Path) -> std::path::PathBuf {
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0")) {
                return path;
            }
        }
    }
    panic!("no store in {}", home.display());
}
