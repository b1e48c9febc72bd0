//! The program as people and scripts use it: its output on both streams, and its exit status.

use std::process::{Command, Output};

use tempfile::TempDir;

/// A temporary home and working directory.
struct TestHome(TempDir);

impl TestHome {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_occopus"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("OCCOPUS_HOME", "home")
            .env("NO_COLOR", "1")
            .env_remove("OCCOPUS_AUTH_DATA_PATH")
            .env_remove("OCCOPUS_CONFIG_PATH")
            .env_remove("OCCOPUS_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        decode_output(self.command(arguments).output().expect("the program starts"))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
}

fn decode_output(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const DESCRIPTION: &str = "infra_name: pair\nuser_id: tester\nnodes:\n- {name: one, type: sleeper}\n- {name: two, type: sleeper}\n\
                           dependencies:\n- [two, one]\n";

const DEFINITIONS: &str = "'node_def:sleeper':\n\
    - resource: {type: local}\n  \
      contextualisation: {type: basic, attributes: {command: [sh, -c, 'echo started; exec sleep 1000']}}\n  \
      health_check: {ping: false}\n";

#[test]
fn help_succeeds_and_unknown_commands_fail() {
    let home = TestHome::new();
    let (code, stdout, stderr) = home.run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!("help", stdout);
    let (code, stdout, stderr) = home.run(&["biuld", "x.yaml"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("similar subcommand"), "{stderr}");
    assert_eq!(home.run(&[]).0, Some(2));
    assert!(!home.0.path().join("home").exists(), "nothing was created");
}

#[test]
fn missing_infrastructures_are_reported() {
    let home = TestHome::new();
    for arguments in [
        &["status", "-i", "nobody"][..],
        &["destroy", "-i", "nobody"],
        &["maintain", "-i", "nobody"],
        &["maintain", "-i", "nobody", "-r"],
        &["events", "-i", "nobody"],
        &["logs", "web", "-i", "nobody"],
    ] {
        let (code, stdout, stderr) = home.run(arguments);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains("nobody"), "{arguments:?}: {stderr}");
    }
    let (code, _, stderr) = home.run(&["status", "-i", "no/body"]);
    assert_eq!(code, Some(2), "{stderr}");
    let (code, stdout, _) = home.run(&["maintain", "-l"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "No active infrastructure.\n"));
}

#[test]
fn failures_are_json_documents() {
    let (code, stdout, stderr) = TestHome::new().run(&["status", "-i", "nobody", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!(code, Some(1));
    assert_eq!(error["error"]["code"], "engine.unknown-infrastructure");
    assert_eq!(error["error"]["exit"], 1);
    assert!(stderr.contains("nobody"));
}

#[test]
fn named_files_must_exist() {
    let home = TestHome::new();
    for arguments in [&["--cfg", "none.yaml", "status"][..], &["status", "--auth_data_path", "none.yaml"]] {
        let (code, _, stderr) = home.run(arguments);
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stderr.contains("none.yaml"), "{stderr}");
    }
}

#[test]
fn a_configuration_of_the_python_program_is_reported_once() {
    let home = TestHome::new();
    home.write("home/occopus_config.yaml", "components:\n  dry_run: False\n");
    let (code, stdout, stderr) = home.run(&["status"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "no infrastructures\n"));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("ignored"), "{stderr}");
}

#[test]
fn errors_in_files_are_shown_all_at_once_and_validating_creates_no_store() {
    let home = TestHome::new();
    home.write("infra.yaml", &DESCRIPTION.replace("sleeper}\n- {name: two", "sleepr}\n- {nam: two"));
    home.write("nodes/node_definitions.yaml", DEFINITIONS);
    let (code, _, stderr) = home.run(&["validate", "infra.yaml"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("infra.yaml:4:") && stderr.contains("infra.yaml:5:"), "{stderr}");
    home.write("infra.yaml", DESCRIPTION);
    let (code, stdout, stderr) = home.run(&["validate", "infra.yaml"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "infra.yaml is valid: pair, 2 nodes, 2 instances\n"), "{stderr}");
    assert!(!home.0.path().join("home/store.db").exists());
    let (_, stdout, _) = home.run(&["plan", "infra.yaml"]);
    assert_eq!(
        stdout,
        "create one on local: it does not exist\ncreate two on local after one: it does not exist\n2 to create\n"
    );
}

#[test]
fn the_whole_life_of_two_processes() {
    let home = TestHome::new();
    home.write("infra.yaml", DESCRIPTION);
    home.write("defs.yaml", DEFINITIONS);
    let (code, stdout, stderr) = home.run(&["import", "defs.yaml"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "Successfully imported nodes: sleeper\n"), "{stderr}");

    let (code, stdout, stderr) = home.run(&["build", "infra.yaml", "-i", "my_pair", "--parallelize"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout.lines().last(), Some("my_pair"));
    assert!(stderr.contains("infrastructure id: my_pair") && stderr.contains("one: ready at 127."), "{stderr}");

    let (_, stdout, _) = home.run(&["status", "-i", "my_pair"]);
    assert!(stdout.starts_with("pair (my_pair): ready"), "{stdout}");
    let (_, stdout, _) = home.run(&["status", "-i", "my_pair", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let address = status["nodes"][1]["instances"][0]["addresses"][0]["value"].as_str().expect("an address").to_owned();

    let (code, stdout, stderr) = home.run(&["logs", "one", "-i", "my_pair"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "started\n"), "{stderr}");
    assert_eq!(home.run(&["logs", "three", "-i", "my_pair"]).0, Some(1));

    let (_, stdout, _) = home.run(&["events", "-i", "my_pair", "--output", "json"]);
    let events: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect();
    assert_eq!(events.first().map(|event| &event["event"]), Some(&"infrastart".into()));
    assert_eq!(events.last().map(|event| &event["event"]), Some(&"infraready".into()));

    let (code, _, stderr) = home.run(&["maintain", "-i", "my_pair", "-r", "-f", "tw", "-o", "report.txt"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(std::fs::read_to_string(home.0.path().join("report.txt")).expect("written"), format!("{address}\n"));
    assert_eq!(home.run(&["maintain", "-l"]).1, "List of active infrastructures:\nmy_pair\n");

    let (code, stdout, stderr) = home.run(&["destroy", "-i", "my_pair"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "destroyed my_pair: all 2 machines are gone\n"), "{stderr}");
    assert_eq!(home.run(&["status", "-i", "my_pair"]).0, Some(1));
}

#[test]
fn a_closed_output_is_ignored_and_a_full_one_is_reported() {
    let home = TestHome::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let (code, _, stderr) = decode_output(home.command(&["status"]).stdout(full).output().expect("starts"));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("standard output"), "{stderr}");
    for arguments in [&["status"][..], &["--help"], &["completions", "bash"], &["status", "-i", "nobody"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let other = writer.try_clone().expect("a pipe");
        let status = home.command(arguments).stdout(writer).stderr(other).status().expect("starts");
        assert!(matches!(status.code(), Some(0 | 1)), "{arguments:?}: {status}");
    }
}
