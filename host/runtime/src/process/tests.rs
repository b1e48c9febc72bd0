//! Tests with real processes, and with hosts that are killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

/// Directory of state for one test; the processes that are left are ended with it.
struct ProcessFixture {
    state: TempDir,
}

impl Drop for ProcessFixture {
    fn drop(&mut self) {
        for id in ProcessDirectory::list_ids(self.state.path()).unwrap() {
            members::terminate(&id, None, Duration::ZERO, || {}).unwrap();
        }
    }
}

impl ProcessFixture {
    fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap() }
    }

    fn host(&self) -> Processes {
        Processes::new(self.state.path(), "/opt/occopus")
    }

    fn directory(&self, id: &str) -> ProcessDirectory {
        ProcessDirectory::new(self.state.path(), id).unwrap()
    }

    fn record(&self, id: &str) -> ProcessRecord {
        self.directory(id).read().unwrap().unwrap()
    }
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

fn shell(script: &str) -> ProcessCommand {
    ProcessCommand { argv: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ProcessCommand::default() }
}

fn sleeper() -> ProcessCommand {
    ProcessCommand { argv: ["sleep", "600"].map(str::to_owned).to_vec(), ..ProcessCommand::default() }
}

fn running_pids(id: &str) -> BTreeSet<u32> {
    let running =
        |pid: &u32| procfs::belongs_to_instance(*pid, id) && procfs::stat(*pid).is_some_and(|stat| !stat.zombie);
    procfs::pids().into_iter().filter(running).collect()
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

async fn wait_until(expectation: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "{expectation}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn state_of(host: &Processes, id: &str) -> ProcessState {
    host.inspect(&[id.to_owned()]).await.unwrap()[0].state
}

#[tokio::test]
async fn a_process_is_started_seen_and_stopped() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let host = fixture.host();
    let command = ProcessCommand { labels: vec![("a".into(), "b".into())], ..sleeper() };
    let process = host.start(&id, command.clone()).await.unwrap();
    assert_eq!((process.state, process.labels.as_slice()), (ProcessState::Running, command.labels.as_slice()));
    assert!(process.address.starts_with("127.") && !process.address.starts_with("127.0."));
    let inspected = host.inspect(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(inspected, std::slice::from_ref(&process));
    assert_eq!(host.start(&id, command).await.unwrap(), process);
    assert_eq!(procfs::stat(process.pid).unwrap().group, process.pid);
    host.stop(&id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(state_of(&host, &id).await, ProcessState::Gone);
    assert!(procfs::stat(process.pid).is_none());
    assert_eq!(std::fs::read_dir(fixture.state.path().join("addresses")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(fixture.state.path().join("instances")).unwrap().count(), 0);
    host.stop(&id, Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn it_gets_a_minimal_environment_and_its_output_is_kept() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let host = fixture.host();
    let mut command = shell("env; pwd; echo problem >&2; cat");
    command.environment = vec![("GREETING".into(), "hello".into()), ("OCCOPUS".into(), "fake".into())];
    command.directory = Some("/usr".into());
    let process = host.start(&id, command).await.unwrap();
    wait_until("it exits", || !fixture.record(&id).started.unwrap().is_running()).await;
    assert_eq!(state_of(&host, &id).await, ProcessState::Exited);
    let output = std::fs::read_to_string(&process.output).unwrap();
    let lines: BTreeSet<&str> = output.lines().collect();
    let (instance_variable, address) =
        (format!("OCCOPUS_INSTANCE_ID={id}"), format!("OCCOPUS_ADDRESS={}", process.address));
    for line in ["GREETING=hello", "OCCOPUS=/opt/occopus", "/usr", "problem", &instance_variable, &address] {
        assert!(lines.contains(line), "{line} in {output}");
    }
    assert!(!output.contains("CARGO"), "{output}");
    let record = std::fs::read_to_string(fixture.state.path().join("instances").join(&id).join("record.json")).unwrap();
    assert!(!record.contains("hello"), "{record}");
}

#[tokio::test]
async fn a_zombie_has_exited_and_says_how() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    fixture.host().start(&id, sleeper()).await.unwrap();
    kill(fixture.record(&id).started.unwrap().pid);
    // Nobody waits for this one.
    let mut child = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
    wait_until("it ends", || procfs::stat(child.id()).is_some_and(|stat| stat.zombie)).await;
    let started = procfs::identity(child.id());
    fixture.directory(&id).write(&ProcessRecord { started, ..fixture.record(&id) }).unwrap();
    let _ = std::fs::remove_file(fixture.directory(&id).exit_file());
    let other = fixture.host();
    assert_eq!(state_of(&other, &id).await, ProcessState::Exited);
    assert_eq!(other.exits(std::slice::from_ref(&id)).await.unwrap(), [Some(ProcessExit::Status(3))]);
    assert_eq!(other.start(&id, sleeper()).await.unwrap().state, ProcessState::Exited);
    other.stop(&id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(state_of(&other, &id).await, ProcessState::Gone);
    child.wait().unwrap();
}

#[tokio::test]
async fn a_host_learns_how_its_processes_end_and_tells_later_hosts() {
    let fixture = ProcessFixture::new();
    let host = fixture.host();
    let ids = [new_id(), new_id(), new_id(), new_id()];
    for (id, script) in ids.iter().zip(["echo reason >&2; exit 3", "kill -9 $$", "true", "exec sleep 600"]) {
        host.start(id, shell(script)).await.unwrap();
    }
    wait_until("three end and are waited for", || ids[..3].iter().all(|id| fixture.directory(id).exit_file().exists()))
        .await;
    let expected = [Some(ProcessExit::Status(3)), Some(ProcessExit::Signal(9)), Some(ProcessExit::Status(0)), None];
    assert_eq!(host.exits(&ids).await.unwrap(), expected);
    drop(host);
    let later = fixture.host();
    assert_eq!(later.exits(&ids).await.unwrap(), expected);
    assert_eq!(later.tail(&ids[0], 20).await.unwrap(), "reason");
    assert_eq!(later.exits(&[new_id()]).await.unwrap(), [None]);
    assert_eq!(later.tail(&new_id(), 20).await.unwrap(), "");
}

#[tokio::test]
async fn no_end_is_missed_however_soon_it_comes() {
    let fixture = ProcessFixture::new();
    let host = fixture.host();
    let ids: Vec<_> = (0..100).map(|_| new_id()).collect();
    for id in &ids {
        host.start(id, shell("exit 0")).await.unwrap();
    }
    wait_until("all exits are stored", || ids.iter().all(|id| fixture.directory(id).exit_file().exists())).await;
}

#[tokio::test]
async fn output_is_kept_short_while_a_host_runs() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let host = fixture.host();
    // 12 MiB a second, four times.
    let script =
        "for n in 1 2 3 4; do head -c 12000000 /dev/zero | tr '\\0' x; echo; sleep 1; done; echo last; exec sleep 600";
    host.start(&id, shell(script)).await.unwrap();
    let directory = fixture.directory(&id);
    wait_until("all is written", || output::tail(&directory, 1).unwrap() == "last").await;
    wait_until("it is shortened", || {
        std::fs::metadata(directory.output_file()).unwrap().len() <= output::MAX_OUTPUT_FILE_BYTES
    })
    .await;
    assert!(
        std::fs::metadata(directory.rotated_output_file()).unwrap().len() <= output::MAX_OUTPUT_FILE_BYTES + (1 << 20)
    );
    assert_eq!(host.tail(&id, 1).await.unwrap(), "last");
    assert_eq!(state_of(&host, &id).await, ProcessState::Running);
}

#[tokio::test]
async fn output_is_kept_short_after_the_host() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let began = |fixture: &ProcessFixture| {
        let state = fixture.state.path().to_owned();
        std::thread::spawn(move || run_output_rotation(&state).unwrap())
    };
    std::fs::create_dir_all(fixture.state.path()).unwrap();
    began(&fixture).join().unwrap();
    fixture.host().start(&id, shell("sleep 1; head -c 12000000 /dev/zero; exec sleep 600")).await.unwrap();
    let watching = began(&fixture);
    let directory = fixture.directory(&id);
    wait_until("it is shortened", || {
        std::fs::metadata(directory.rotated_output_file()).is_ok_and(|found| found.len() > 0)
    })
    .await;
    assert!(!watching.is_finished());
    began(&fixture).join().unwrap();
    fixture.host().stop(&id, Duration::ZERO).await.unwrap();
    wait_until("it ends with the last process", || watching.is_finished()).await;
}

#[tokio::test]
async fn a_process_gets_no_descriptor_of_the_host() {
    use std::os::fd::AsRawFd as _;
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let lock = std::fs::File::create(fixture.state.path().join("lock")).unwrap();
    // As if this program had inherited it.
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).unwrap();
    let process = fixture.host().start(&id, sleeper()).await.unwrap();
    wait_until("it runs", || std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap().starts_with(b"sleep"))
        .await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.pid)).unwrap();
    let open: BTreeSet<String> = open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!open.contains(&lock.as_raw_fd().to_string()));
    assert_eq!(open, ["0", "1", "2"].map(str::to_owned).into());
}

#[tokio::test]
async fn a_recycled_pid_is_never_touched() {
    let (fixture, id, innocent_id) = (ProcessFixture::new(), new_id(), new_id());
    let host = fixture.host();
    let mine = host.start(&id, sleeper()).await.unwrap();
    // Start times are counted in hundredths of a second.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let innocent = host.start(&innocent_id, sleeper()).await.unwrap();
    kill(mine.pid);
    let record = fixture.record(&id);
    let mut started = record.started.clone().unwrap();
    started.pid = innocent.pid;
    fixture.directory(&id).write(&ProcessRecord { started: Some(started), ..record }).unwrap();
    assert_eq!(state_of(&host, &id).await, ProcessState::Exited);
    host.stop(&id, Duration::ZERO).await.unwrap();
    assert_eq!(state_of(&host, &innocent_id).await, ProcessState::Running);
}

#[tokio::test]
async fn a_process_of_an_earlier_boot_has_exited() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let host = fixture.host();
    host.start(&id, sleeper()).await.unwrap();
    let record = fixture.record(&id);
    let started = procfs::ProcessIdentity { boot_id: "earlier".into(), ..record.started.clone().unwrap() };
    fixture.directory(&id).write(&ProcessRecord { started: Some(started), ..record }).unwrap();
    assert_eq!(state_of(&host, &id).await, ProcessState::Exited);
}

#[tokio::test]
async fn what_an_interrupted_start_left_is_adopted() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let first = fixture.host().start(&id, sleeper()).await.unwrap();
    let forget_pid = || fixture.directory(&id).write(&ProcessRecord { started: None, ..fixture.record(&id) }).unwrap();
    forget_pid();
    let adopted = fixture.host().inspect(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(adopted, std::slice::from_ref(&first));
    forget_pid();
    assert_eq!(fixture.host().start(&id, sleeper()).await.unwrap(), first);
    forget_pid();
    assert_eq!(fixture.host().list_all(None).await.unwrap(), (vec![first], None));
    forget_pid();
    fixture.host().stop(&id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(running_pids(&id), BTreeSet::new());
}

#[tokio::test]
async fn an_intent_without_a_process_is_nothing() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let host = fixture.host();
    let process = host.start(&id, sleeper()).await.unwrap();
    kill(process.pid);
    wait_until("it ends", || running_pids(&id).is_empty()).await;
    fixture.directory(&id).write(&ProcessRecord { started: None, ..fixture.record(&id) }).unwrap();
    assert_eq!(host.list_all(None).await.unwrap(), (vec![], None));
    assert_eq!(state_of(&host, &id).await, ProcessState::Gone);
    assert_eq!(std::fs::read_dir(fixture.state.path().join("addresses")).unwrap().count(), 0);
    assert_eq!(host.start(&id, sleeper()).await.unwrap().state, ProcessState::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn starts_at_once_make_one_process() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let starts = (0..8).map(|_| {
        let (host, id) = (fixture.host(), id.clone());
        tokio::spawn(async move { host.start(&id, sleeper()).await.unwrap() })
    });
    let mut pids = BTreeSet::new();
    for start in starts.collect::<Vec<_>>() {
        pids.insert(start.await.unwrap().pid);
    }
    assert_eq!(pids, running_pids(&id));
    assert_eq!(pids.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn starts_and_stops_at_once_leave_one_or_none() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let works = (0..12).map(|number| {
        let (host, id) = (fixture.host(), id.clone());
        tokio::spawn(async move {
            if number % 2 == 0 {
                host.start(&id, sleeper()).await.map(drop)
            } else {
                host.stop(&id, Duration::from_secs(5)).await
            }
        })
    });
    for work in works.collect::<Vec<_>>() {
        work.await.unwrap().unwrap();
    }
    let left = usize::from(state_of(&fixture.host(), &id).await == ProcessState::Running);
    assert_eq!(running_pids(&id).len(), left);
}

#[tokio::test]
async fn stop_ends_the_whole_group_and_those_that_left_it() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let host = fixture.host();
    // One that ignores SIGTERM, one in a session of its own, and one without the instance id, whose leader then ends.
    let script = "trap '' TERM; sleep 601 & setsid sleep 602 & env -i sleep 603 & wait";
    let process = host.start(&id, shell(script)).await.unwrap();
    let group = || {
        let member = |pid: &u32| procfs::stat(*pid).is_some_and(|stat| !stat.zombie && stat.group == process.pid);
        procfs::pids().into_iter().filter(member).count()
    };
    wait_until("all run", || {
        let all =
            procfs::pids().into_iter().map(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
        running_pids(&id).len() == 3 && group() == 3 && all.filter(|line| line == b"sleep\x00603\x00").count() >= 1
    })
    .await;
    host.stop(&id, Duration::from_millis(100)).await.unwrap();
    assert_eq!((running_pids(&id), group()), (BTreeSet::new(), 0));
}

#[tokio::test]
async fn stop_lets_a_process_end_by_itself() {
    let (fixture, id) = (ProcessFixture::new(), new_id());
    let host = fixture.host();
    let witness = fixture.state.path().join("witness");
    let script = format!("trap 'echo bye > {}; exit' TERM; echo up; while :; do sleep 0.05; done", witness.display());
    let process = host.start(&id, shell(&script)).await.unwrap();
    wait_until("it is up", || std::fs::read_to_string(&process.output).is_ok_and(|text| text == "up\n")).await;
    host.stop(&id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(std::fs::read_to_string(witness).unwrap(), "bye\n");
}

#[tokio::test]
async fn all_are_listed_by_page() {
    let fixture = ProcessFixture::new();
    let host = fixture.host();
    let mut ids: Vec<String> = (0..LIST_PAGE_SIZE + 3).map(|number| format!("id-{number:03}")).collect();
    for id in &ids {
        let started = Some(procfs::ProcessIdentity { pid: 1, start_time: 0, boot_id: "earlier".into() });
        let directory = fixture.directory(id);
        let _lock = directory.create_and_lock().unwrap();
        directory.write(&ProcessRecord { started, ..ProcessRecord::default() }).unwrap();
    }
    let (first, cursor) = host.list_all(None).await.unwrap();
    let (second, end) = host.list_all(cursor.as_deref()).await.unwrap();
    assert_eq!((first.len(), second.len(), end), (LIST_PAGE_SIZE, 3, None));
    let mut listed: Vec<String> = first.into_iter().chain(second).map(|process| process.instance_id).collect();
    listed.sort();
    ids.sort();
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn what_cannot_be_started_leaves_nothing() {
    let fixture = ProcessFixture::new();
    let host = fixture.host();
    let text = fixture.state.path().join("text");
    std::fs::write(&text, "no program").unwrap();
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let bad = [
        (ProcessCommand::default(), "process.bad-command"),
        (ProcessCommand { argv: argv(&["a\0b"]), ..ProcessCommand::default() }, "process.bad-command"),
        (ProcessCommand { environment: vec![("a=b".into(), String::new())], ..sleeper() }, "process.bad-command"),
        (
            ProcessCommand { argv: argv(&["no-such-program-here"]), ..ProcessCommand::default() },
            "process.no-such-program",
        ),
        (
            ProcessCommand { argv: argv(&[text.to_str().unwrap()]), ..ProcessCommand::default() },
            "process.no-such-program",
        ),
        (ProcessCommand { directory: Some("/no/such".into()), ..sleeper() }, "process.no-such-directory"),
    ];
    for (command, code) in bad {
        let fault = host.start(&new_id(), command).await.unwrap_err();
        assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::GiveUp, code), "{}", fault.message);
    }
    // Executable by its mode, and by nothing else.
    std::fs::set_permissions(&text, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let command = ProcessCommand { argv: argv(&[text.to_str().unwrap()]), ..ProcessCommand::default() };
    assert_eq!(host.start(&new_id(), command).await.unwrap_err().code, "process.not-started");
    assert_eq!(host.list_all(None).await.unwrap(), (vec![], None));
    assert_eq!(ProcessDirectory::list_ids(fixture.state.path()).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_id_that_is_a_path_is_refused() {
    let fixture = ProcessFixture::new();
    let host = fixture.host();
    for id in ["", ".", "..", "a/b", "../x", "a\0", "a.b", &"x".repeat(129)] {
        assert_eq!(host.start(id, sleeper()).await.unwrap_err().code, "process.bad-instance-id", "{id}");
        assert_eq!(host.stop(id, Duration::ZERO).await.unwrap_err().code, "process.bad-instance-id", "{id}");
        assert!(host.inspect(&[id.to_owned()]).await.is_err(), "{id}");
    }
}

/// Host that the next test kills, and not a test of its own. It starts and stops the same process until it dies.
#[tokio::test]
async fn host_to_be_killed() {
    let (Ok(state), Ok(id)) = (std::env::var("OCCOPUS_TEST_STATE"), std::env::var("OCCOPUS_TEST_ID")) else { return };
    let host = Processes::new(Path::new(&state), "/opt/occopus");
    for _ in 0..1000 {
        host.start(&id, sleeper()).await.unwrap();
        host.stop(&id, Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test]
async fn a_host_that_is_killed_neither_loses_nor_doubles_a_process() {
    let fixture = ProcessFixture::new();
    for round in 0..30_u64 {
        let id = new_id();
        let mut dying = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{}::host_to_be_killed", module_path!().split_once("::").unwrap().1)])
            .env("OCCOPUS_TEST_STATE", fixture.state.path())
            .env("OCCOPUS_TEST_ID", &id)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let directory = fixture.state.path().join("instances").join(&id);
        wait_until("it works", || directory.exists()).await;
        tokio::time::sleep(Duration::from_micros(997 * round)).await;
        dying.kill().unwrap();
        dying.wait().unwrap();
        let host = fixture.host();
        // It may have got its signal a moment ago, and end between the two checks.
        let mut checks = 0;
        while running_pids(&id).len() != usize::from(state_of(&host, &id).await == ProcessState::Running) {
            checks += 1;
            assert!(checks < 500, "found again, round {round}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let process = host.start(&id, sleeper()).await.unwrap();
        if process.state == ProcessState::Running {
            assert_eq!(running_pids(&id), BTreeSet::from([process.pid]), "started once, round {round}");
        }
        host.stop(&id, Duration::from_secs(5)).await.unwrap();
        assert_eq!(running_pids(&id), BTreeSet::new(), "nothing left, round {round}");
    }
}
