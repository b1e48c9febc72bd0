//! Interruptions: signals, a terminal that is closed, a store that cannot be written, a machine that sleeps.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use occopus_tests::processes::{kill_instance, processes_with, signal, unique_sleep_seconds, write_sleeper};
use occopus_tests::wait::{eventually, pause};
use occopus_tests::{Occopus, skip};

/// Writes a description of three nodes in a row of which the last one never gets healthy.
fn write(occopus: &Occopus, mark: &str, healthy: bool) {
    occopus.write(
        "infra.yaml",
        "infra_name: row\nuser_id: tester\nnodes:\n- {name: a, type: sleeper}\n- {name: b, type: sleeper}\n\
         - {name: c, type: sick}\ndependencies:\n- [b, a]\n- [c, b]\n",
    );
    write_sleeper(occopus, &format!("exec sleep {mark}"), "ping: false");
    let path = occopus.directory().join("nodes/node_definitions.yaml");
    let well = std::fs::read_to_string(&path).expect("definitions");
    let sick = well.replace("sleeper", "sick");
    let sick = if healthy { sick } else { sick.replace("ping: false", "ping: false\n    ports: [9]") };
    std::fs::write(path, format!("{well}{sick}")).expect("written");
}

/// Starts a build, and waits until it has started all nodes and waits for the health of the last one.
fn waiting(occopus: &Occopus, mark: &str) -> Child {
    write(occopus, mark, false);
    let build = occopus.start(["build", "-i", "it", "infra.yaml"]);
    eventually("all three run", || processes_with(mark) == 3);
    build
}

fn is_gone(occopus: &Occopus, mark: &str) {
    assert_eq!(processes_with(mark), 0, "rolled back");
    assert_eq!(occopus.run(["status", "-i", "it"]).code, Some(1), "nothing is left in the store");
}

#[test]
fn signals_roll_a_build_back() {
    for (at, name) in ["INT", "TERM", "HUP"].into_iter().enumerate() {
        let occopus = Occopus::new();
        let mark = unique_sleep_seconds(31 + at as u32);
        let build = waiting(&occopus, &mark);
        signal(build.id(), name);
        let ended = build.wait_with_output().expect("ends");
        let message = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(130), "{name}: {message}");
        assert!(message.contains("removing what this run made"), "{message}");
        is_gone(&occopus, &mark);
    }
}

#[test]
fn a_second_signal_stops_at_once_and_says_what_is_left() {
    let occopus = Occopus::new();
    let mark = unique_sleep_seconds(35);
    // The processes take some time to end.
    write(&occopus, &mark, false);
    let path = occopus.directory().join("nodes/node_definitions.yaml");
    let stubborn = format!("trap \"\" TERM; sleep {mark} & wait; sleep {mark}");
    let text = std::fs::read_to_string(&path).expect("definitions").replace(&format!("exec sleep {mark}"), &stubborn);
    std::fs::write(&path, text).expect("written");
    let mut build = occopus.start(["build", "-i", "it", "infra.yaml"]);
    let mut lines = BufReader::new(build.stderr.take().expect("errors")).lines().map_while(Result::ok);
    eventually("all run", || processes_with(&mark) >= 3);
    signal(build.id(), "TERM");
    assert!(lines.any(|line| line.contains("removing what this run made")), "it rolls back");
    signal(build.id(), "TERM");
    let message = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(build.wait().expect("ends").code(), Some(5), "{message}");
    assert!(message.contains("destroy -i it"), "it says how to remove what is left: {message}");
    occopus.ok(["destroy", "-i", "it"]);
    is_gone(&occopus, &mark);
}

#[test]
fn a_terminal_that_is_closed_rolls_a_build_back_but_not_under_nohup() {
    let occopus = Occopus::new();
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("a_terminal_that_is_closed", "there is no `script` (Debian: bsdutils)");
    }
    for (nohup, mark) in [("", unique_sleep_seconds(36)), ("nohup ", unique_sleep_seconds(37))] {
        write(&occopus, &mark, false);
        let plain = occopus.command(["build", "-i", "it", "infra.yaml"]);
        let program = plain.get_program().to_str().expect("a path").to_owned();
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &format!("{nohup}{program} build -i it infra.yaml"), "/dev/null"]);
        terminal.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        terminal.current_dir(occopus.directory()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut terminal = terminal.spawn().expect("a terminal");
        eventually("all three run", || processes_with(&mark) == 3);
        terminal.kill().expect("closed");
        terminal.wait().expect("ended");
        if nohup.is_empty() {
            eventually("rolled back", || occopus.run(["status", "-i", "it"]).code == Some(1));
            is_gone(&occopus, &mark);
        } else {
            pause("a signal that is ignored leaves no trace", Duration::from_secs(1));
            assert_eq!(processes_with(&mark), 3, "it goes on");
            let owner = occopus.status("it")["owner"]["holder"].as_str().expect("an owner").to_owned();
            let pid = owner.split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a number");
            signal(pid, "TERM");
            eventually("rolled back", || occopus.run(["status", "-i", "it"]).code == Some(1));
            is_gone(&occopus, &mark);
        }
    }
}

/// A file system for the store that can be made read-only.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        std::fs::create_dir(at).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(at))
    }

    fn writable(&self, writable: bool) {
        let how = if writable { "remount,rw" } else { "remount,ro" };
        let status = Command::new("mount").args(["-o", how]).arg(self.0).status().expect("mount runs");
        assert!(status.success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_store_that_can_not_be_written() {
    let occopus = Occopus::new();
    let mark = unique_sleep_seconds(38);
    let path = occopus.directory().join("disk");
    let Some(disk) = Disk::mount(&path) else {
        skip("a_store_that_can_not_be_written", "no file system of its own can be mounted (as root only)");
        return;
    };
    occopus.write("home/occopus_config.yaml", format!("store: {}/store.db\n", path.display()));
    write(&occopus, &mark, true);
    occopus.ok(["build", "-i", "it", "infra.yaml"]);
    disk.writable(false);
    let status = occopus.ok(["status", "-i", "it"]);
    assert!(status.stdout.contains("ready"), "what only reads still works: {}", status.stdout);
    for command in
        [["maintain", "-i", "it"].as_slice(), &["destroy", "-i", "it"], &["build", "-i", "new", "infra.yaml"]]
    {
        let refused = occopus.run(command);
        assert_eq!(refused.code, Some(1), "{command:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("read") && refused.stderr.contains("store.db"), "{}", refused.stderr);
        assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
        assert_eq!(processes_with(&mark), 3, "nothing is touched");
    }
    disk.writable(true);
    occopus.ok(["destroy", "-i", "it"]);
    is_gone(&occopus, &mark);
}

#[test]
fn a_machine_that_has_slept() {
    let occopus = Occopus::new();
    let mark = unique_sleep_seconds(39);
    write(&occopus, &mark, true);
    occopus.ok(["build", "-i", "it", "infra.yaml"]);
    let maintainer = occopus.start(["maintain", "-i", "it", "--cyclic", "-t", "0.2"]);
    let owner = || occopus.status("it")["owner"]["holder"].as_str().map(str::to_owned);
    eventually("it is owned", || owner().is_some());
    signal(maintainer.id(), "STOP");
    // An hour later its lease has expired, as it would have.
    let store = rusqlite::Connection::open(occopus.home().join("store.db")).expect("the store");
    let expired = store.execute("UPDATE lease SET expires = expires - 3600000, renewed = renewed - 3600000", ());
    assert_eq!(expired.expect("written"), 1);
    // Another process maintains it meanwhile.
    kill_instance(occopus.status("it")["nodes"][0]["instances"][0]["id"].as_str().expect("an id"));
    occopus.ok(["maintain", "-i", "it"]);
    assert_eq!(processes_with(&mark), 3);
    kill_instance(occopus.status("it")["nodes"][1]["instances"][0]["id"].as_str().expect("an id"));
    signal(maintainer.id(), "CONT");
    eventually("it is maintained again", || processes_with(&mark) == 3 && owner().is_some());
    signal(maintainer.id(), "TERM");
    let ended = maintainer.wait_with_output().expect("ends");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(processes_with(&mark), 3, "neither lost nor doubled");
    occopus.ok(["destroy", "-i", "it"]);
    is_gone(&occopus, &mark);
}
