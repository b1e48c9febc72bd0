//! The operator's own plugins, good and bad, on the command line.

use std::path::Path;

use occopus_tests::{Finished, Occopus};

/// Returns a home with the plugin `hostile` of `tests/fixtures`, and a node on which it does this.
fn hostile(deed: &str) -> Occopus {
    let occopus = Occopus::new();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins/hostile.wasm");
    occopus.write("home/plugins/hostile.wasm", std::fs::read(plugin).expect("the plugin"));
    occopus.write("home/occopus_config.yaml", "limits: {compute_ms: 200, memory_bytes: 33554432}\n");
    occopus.write("infra.yaml", "infra_name: bad\nuser_id: tester\nnodes:\n- {name: one, type: odd}\n");
    occopus.write(
        "nodes/node_definitions.yaml",
        format!("'node_def:odd':\n- resource:\n    type: hostile\n    do: '{deed}'\n  health_check: {{ping: false}}\n"),
    );
    write_credentials(&occopus, "resource:\n- type: hostile\n  auth_data: {password: any}\n");
    occopus
}

fn write_credentials(occopus: &Occopus, content: &str) {
    occopus.write_private("home/auth_data.yaml", content);
}

/// Asserts that the build fails with these words and leaves nothing behind.
#[track_caller]
fn fails(occopus: &Occopus, code: i32, words: &[&str]) -> Finished {
    let built = occopus.run(["build", "infra.yaml"]);
    assert_eq!(built.code, Some(code), "{}", built.stderr);
    for word in words {
        assert!(built.stderr.contains(word), "`{word}` is missing from\n{}", built.stderr);
    }
    assert!(!built.stderr.contains("panicked at"), "{}", built.stderr);
    assert!(occopus.ok(["maintain", "-l"]).stdout.contains("No active infrastructure"));
    built
}

#[test]
fn a_plugin_that_loops_for_ever() {
    fails(&hostile("loop"), 1, &["the plugin `hostile` computed for more than 200 ms", "node_definitions.yaml:2:"]);
}

#[test]
fn a_plugin_that_allocates_without_end() {
    fails(&hostile("alloc"), 1, &["the plugin `hostile` needs more memory than its limit of 32 MiB"]);
}

#[test]
fn a_plugin_that_traps() {
    fails(&hostile("trap"), 1, &["the plugin `hostile` crashed", "node one"]);
}

#[test]
fn a_plugin_that_asks_for_ungranted_network() {
    let words = ["plugin `hostile` asked for 192.0.2.1:80", "    hostile:", "network: [\"192.0.2.1:80\"]"];
    fails(&hostile("need:http://192.0.2.1/"), 1, &words);
}

#[test]
fn a_plugin_that_floods_its_log() {
    let occopus = hostile("log-flood");
    let built = occopus.ok(["build", "infra.yaml"]);
    assert!(built.stderr.len() < 1 << 20, "{} bytes of log", built.stderr.len());
    assert!(built.stderr.contains("logs too much"));
    occopus.ok(["destroy", "-i", &built.id()]);
}

#[test]
fn wrong_credentials() {
    let secret = "correct-horse-battery";
    let occopus = hostile("secret");
    for (content, words) in [
        (
            format!("resource:\n- type: hostile\n  auth_data: {{passwort: {secret}}}\n"),
            ["password", "auth_data.yaml:3:"],
        ),
        (
            format!("resource:\n- type: hostile\n  auth_data: {{password: [{secret}]}}\n"),
            ["password", "auth_data.yaml:3:"],
        ),
        (format!("resource:\n- type: hostile\n  auth_data: {secret}\n"), ["auth_data", "auth_data.yaml:3:"]),
        (format!("resource: [{secret}\n"), ["YAML", "auth_data.yaml:"]),
        (
            format!("resource:\n- type: other\n  auth_data: {{password: {secret}}}\n"),
            ["it needs credentials (password)", "node_definitions.yaml:2:"],
        ),
        (
            format!(
                "resource:\n- type: hostile\n  auth_data: {{password: {secret}}}\n- type: hostile\n  auth_data: {{password: b}}\n"
            ),
            ["several rules", "auth_data.yaml:4"],
        ),
    ] {
        write_credentials(&occopus, &content);
        let built = fails(&occopus, 3, &words);
        assert!(!built.stderr.contains(secret), "{}", built.stderr);
    }
}

#[test]
fn a_secret_appears_nowhere() {
    let secret = "correct-horse-battery";
    let occopus = hostile("secret");
    write_credentials(&occopus, &format!("resource:\n- type: hostile\n  auth_data: {{password: {secret}}}\n"));
    let built = occopus.ok(["build", "-v", "-v", "infra.yaml"]);
    let id = built.id();
    let mut seen = built.stdout + built.stderr.as_str();
    for command in [&["status", "--output", "json", "-i"][..], &["events", "-i"], &["maintain", "-v", "-v", "-i"]] {
        let finished = occopus.ok(command.iter().copied().chain([id.as_str()]));
        seen += &(finished.stdout + finished.stderr.as_str());
    }
    assert!(seen.contains("occopus-secret-"), "the plugin did its worst: {seen}");
    assert!(!seen.contains(secret), "{seen}");
    let mut folders = vec![occopus.home()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() && !path.ends_with("cache") {
                folders.push(path);
            } else if path.is_file() && !path.ends_with("auth_data.yaml") {
                let bytes = std::fs::read(&path).expect("a file");
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "the secret is in {}", path.display());
            }
        }
    }
    occopus.ok(["destroy", "-i", &id]);
}

#[test]
fn a_plugin_is_listed_and_explained() {
    let occopus = hostile("env");
    let list = occopus.ok(["plugin", "list"]).stdout;
    for name in ["hostile", "docker", "local", "ping", "ports", "urls", "basic", "cloudinit"] {
        assert!(list.contains(name), "{name} is missing from\n{list}");
    }
    let explained = occopus.ok(["plugin", "explain", "hostile"]).stdout;
    assert!(explained.contains("network: none"), "{explained}");
    assert!(explained.contains("credentials: used through the host, never seen"), "{explained}");
}

#[test]
fn secrets_from_the_environment_and_from_commands() {
    let secret = "correct-horse-battery";
    let occopus = hostile("secret");
    for value in
        [format!("!command echo {secret}"), "!command [sh, -c, 'echo $SECRET']".to_owned(), "!env SECRET".to_owned()]
    {
        write_credentials(&occopus, &format!("resource:\n- type: hostile\n  auth_data: {{password: {value}}}\n"));
        let checked = occopus.command(["auth", "check", "infra.yaml"]).env("SECRET", secret).output().expect("runs");
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &*String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(0), "{said}");
        assert!(said.contains("password from") && said.contains("auth_data.yaml:2"), "{said}");
        assert!(!said.contains(secret), "{said}");
    }
    for (value, word) in [
        ("!command 'false'", "failed"),
        ("!command no-such-program-here", "can't be started"),
        ("!env NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE"),
    ] {
        write_credentials(&occopus, &format!("resource:\n- type: hostile\n  auth_data: {{password: {value}}}\n"));
        fails(&occopus, 3, &[word, "auth_data.yaml:3:"]);
    }
    // Descriptions may come from anywhere: there, the tags do nothing.
    occopus.write("infra.yaml", "infra_name: !command echo x\nuser_id: !env HOME\nnodes: []\n");
    fails(&occopus, 3, &["the tag `!command` is not known", "the tag `!env` is not known"]);
}
