//! Errors in the user's files are found before anything is changed: exit status 3, all diagnostics at once, each with its
//! location.

#![expect(clippy::print_stderr, reason = "tests say what they skipped and why")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use occopus_tests::{Finished, Occopus};

const DESCRIPTION: &str = "infra_name: bad\nuser_id: tester\nnodes:\n- {name: one, type: sleeper}\n";

const DEFINITIONS: &str = "'node_def:sleeper':\n\
    - resource: {type: local}\n  \
      contextualisation: {type: basic, attributes: {command: [sleep, '100']}}\n  \
      health_check: {ping: false}\n";

/// Runs `occopus build` on these two files.
fn build(description: impl AsRef<[u8]>, definitions: impl AsRef<[u8]>) -> Finished {
    let occopus = Occopus::new();
    occopus.write("infra.yaml", description);
    occopus.write("nodes/node_definitions.yaml", definitions);
    let finished = occopus.run(["build", "infra.yaml"]);
    assert!(!finished.stderr.contains("panicked at"), "{}", finished.stderr);
    let list = occopus.ok(["maintain", "-l"]);
    assert!(!list.stdout.contains('-'), "nothing is registered: {}", list.stdout);
    finished
}

/// Asserts that the build was refused, with a message that contains all of these words.
#[track_caller]
fn refused(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    for word in words {
        assert!(finished.stderr.contains(word), "`{word}` is missing from\n{}", finished.stderr);
    }
}

#[test]
fn unknown_driver_type() {
    let definitions = DEFINITIONS.replace("type: local", "type: lokal");
    refused(&build(DESCRIPTION, definitions), &["lokal", "local", "node_definitions.yaml:2:"]);
}

#[test]
fn several_wrong_keys_at_once() {
    let description = "infra_nam: bad\nuser_id: tester\nnodes:\n- {name: one, typ: sleeper}\n- {name: 5, type: sleeper, sclaing: {}}\n";
    let finished = build(description, DEFINITIONS);
    refused(&finished, &["infra_nam", "typ", "sclaing", "infra.yaml:1:", "infra.yaml:4:", "infra.yaml:5:"]);
}

#[test]
fn mistyped_values_in_a_plugin_section() {
    let definitions = DEFINITIONS.replace("type: local", "type: local, stop_grace: soon, colour: red");
    refused(&build(DESCRIPTION, definitions), &["stop_grace", "colour", "node_definitions.yaml:2:"]);
}

#[test]
fn cycles() {
    let description = "infra_name: bad\nuser_id: t\nnodes:\n- {name: one, type: sleeper}\n- {name: two, type: sleeper}\n\
                       dependencies:\n- [one, two]\n- [two, one]\n";
    refused(&build(description, DEFINITIONS), &["cycle", "one", "two", "infra.yaml:"]);
}

#[test]
fn a_reference_to_a_missing_node() {
    let description = format!("{DESCRIPTION}dependencies:\n- [one, tow]\n");
    refused(&build(description, DEFINITIONS), &["tow", "infra.yaml:6:"]);
}

#[test]
fn duplicate_names() {
    let description = format!("{DESCRIPTION}- {{name: one, type: sleeper}}\n");
    refused(&build(description, DEFINITIONS), &["one", "infra.yaml:5:", "4"]);
}

#[test]
fn invalid_yaml() {
    refused(&build("infra_name: [unclosed\nnodes: }\n", DEFINITIONS), &["infra.yaml:"]);
}

#[test]
fn an_empty_file() {
    refused(&build("", DEFINITIONS), &["empty", "infra.yaml"]);
}

#[test]
fn a_file_that_is_not_utf8() {
    refused(&build(b"infra_name: \xff\xfe\n", DEFINITIONS), &["UTF-8", "infra.yaml"]);
}

#[test]
fn a_file_of_50_megabytes() {
    refused(&build("#".repeat(50 << 20), DEFINITIONS), &["infra.yaml", "large"]);
}

#[test]
fn an_alias_bomb() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        writeln!(bomb, "a{level}: &a{level} [{}]", below.trim_end_matches(", ")).expect("text");
    }
    let began = Instant::now();
    refused(
        &build(format!("{DESCRIPTION}variables:\n  {}", bomb.replace('\n', "\n  ")), DEFINITIONS),
        &["alias", "infra.yaml"],
    );
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn deep_nesting() {
    refused(&build("[".repeat(100_000), DEFINITIONS), &["infra.yaml"]);
}

#[test]
fn a_missing_import() {
    let definitions = format!("{DEFINITIONS}'node_def:other': !yaml_import\n  url: file://not_there.yaml\n");
    refused(&build(DESCRIPTION, definitions), &["not_there.yaml", "node_definitions.yaml:6:"]);
}

#[test]
fn a_python_tag_is_refused_and_never_run() {
    let occopus = Occopus::new();
    let description = format!(
        "{DESCRIPTION}variables: !!python/object/apply:os.system ['touch {}/ran']\n",
        occopus.directory().display()
    );
    refused(&build(description, DEFINITIONS), &["python", "infra.yaml:5:"]);
    assert!(!occopus.directory().join("ran").exists());
}

#[test]
fn an_unknown_node_type() {
    refused(&build(DESCRIPTION.replace("sleeper", "sleepr"), DEFINITIONS), &["sleepr", "sleeper", "infra.yaml:4:"]);
}

#[test]
fn a_description_that_is_not_there() {
    let finished = Occopus::new().run(["build", "nowhere.yaml"]);
    refused(&finished, &["nowhere.yaml"]);
}

#[test]
fn a_plugin_that_is_no_component() {
    for (bytes, word) in [(&b"not wasm at all"[..], "component"), (&b"\0asm\x01\0\0\0"[..], "component")] {
        let occopus = Occopus::new();
        occopus.write("infra.yaml", DESCRIPTION);
        occopus.write("nodes/node_definitions.yaml", DEFINITIONS);
        occopus.write("home/plugins/broken.wasm", bytes);
        let listed = occopus.run(["plugin", "list"]);
        let message = listed.stdout + listed.stderr.as_str();
        assert!(message.contains("broken.wasm") && message.contains(word), "{message}");
        assert_eq!(occopus.run(["validate", "infra.yaml"]).code, Some(0), "the other plugins still work");
    }
}

#[test]
fn a_home_that_is_no_folder() {
    let occopus = Occopus::new();
    occopus.write("infra.yaml", DESCRIPTION);
    occopus.write("nodes/node_definitions.yaml", DEFINITIONS);
    let finished = occopus.command(["build", "infra.yaml"]).env("OCCOPUS_HOME", "/dev/full").output().expect("starts");
    let message = String::from_utf8_lossy(&finished.stderr).into_owned();
    assert_eq!(finished.status.code(), Some(1), "{message}");
    assert!(message.contains("/dev/full") && !message.contains("panicked at"), "{message}");
}

/// A small file system in memory, unmounted when dropped.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(at))
    }

    /// Fills the file system.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_store_on_a_full_disk() {
    let occopus = Occopus::new();
    occopus.write("infra.yaml", DESCRIPTION);
    occopus.write("nodes/node_definitions.yaml", DEFINITIONS);
    let path = occopus.directory().join("small");
    std::fs::create_dir(&path).expect("a folder");
    let Some(disk) = Disk::mount(&path) else {
        // Mounting needs root, also in CI.
        assert!(std::env::var("USER").as_deref() != Ok("root"), "root can mount");
        return eprintln!("skipped a_store_on_a_full_disk: may not mount a small disk");
    };
    occopus.write("home/occopus_config.yaml", format!("store: {}/store.db\n", path.display()));
    assert!(occopus.ok(["maintain", "-l"]).stdout.contains("No active"));
    disk.fill();
    let finished = occopus.run(["build", "-i", "full", "infra.yaml"]);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("full") && finished.stderr.contains("store.db"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("panicked at"), "{}", finished.stderr);
    // With free space again, the same build succeeds.
    std::fs::remove_file(path.join("filler")).expect("removed");
    occopus.ok(["build", "-i", "full", "infra.yaml"]);
    occopus.ok(["destroy", "-i", "full"]);
}

/// Returns the picture that a terminal shows of a text.
fn screen(text: &str) -> String {
    let size = |number| std::num::NonZeroU16::new(number).expect("not zero");
    let mut terminal = vt100::Parser::new(size(1000), size(400), 0);
    terminal.process(text.replace('\n', "\r\n").as_bytes());
    terminal.screen().contents()
}

#[test]
fn nothing_in_a_file_commands_a_terminal() {
    // Clears the screen, writes at its top, hides what follows, goes back in the line, and changes the direction of text.
    let evil = r"\e[2J\e[1;1Hall is well\e[8m\x9b2K\r\u202E";
    for (description, definitions) in [
        (DESCRIPTION.replace("type: sleeper", &format!("type: \"{evil}\"")), DEFINITIONS.to_owned()),
        (DESCRIPTION.replace("name: one", &format!("name: \"{evil}\"")), DEFINITIONS.to_owned()),
        (format!("{DESCRIPTION}\"{evil}\": 1\n"), DEFINITIONS.to_owned()),
        (DESCRIPTION.to_owned(), DEFINITIONS.replace("type: local", &format!("type: \"{evil}\""))),
        (DESCRIPTION.to_owned(), DEFINITIONS.replace("type: local", &format!("type: local, \"{evil}\": 1"))),
        // An excerpt shows the text as it is in the file.
        (format!("{DESCRIPTION}dependencies: [\x1b[2J\u{202e}]\n"), DEFINITIONS.to_owned()),
    ] {
        let finished = build(description, definitions);
        assert_ne!(finished.code, Some(0), "{}", finished.stdout);
        let all = format!("{}{}", finished.stdout, finished.stderr);
        let lines = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(lines(&screen(&all)), lines(all.trim_end()), "each character is where it was printed");
        assert!(!all.contains(['\u{202e}', '\u{9b}']), "{all}");
    }
}
