//! Plugins of others: looked at, installed, pinned, removed.

use std::fs;
use std::path::{Path, PathBuf};

use occopus_tests::Occopus;

/// A plugin that asks for something: the bundled `ping`, as a file.
fn ping(occopus: &Occopus) -> PathBuf {
    let ping = occopus_plugins::PLUGINS.iter().find(|plugin| plugin.name == "health-ping").expect("bundled");
    occopus.write("ping.wasm", ping.bytes)
}

fn path(file: &Path) -> &str {
    file.to_str().expect("UTF-8")
}

#[test]
fn a_file_is_looked_at_before_it_is_installed() {
    let occopus = Occopus::new();
    let ping = ping(&occopus);
    let seen = occopus.ok(["plugin", "check", path(&ping)]).stdout;
    for expected in
        ["ping", "kind:        health-checker", "sha256:", "size:", "imports:", "icmp: asked for, not granted"]
    {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    let text = occopus.write("text.wasm", "not WebAssembly");
    for (bad, said) in [(path(&text), "is not a component"), ("nowhere.wasm", "can't be read")] {
        let failed = occopus.run(["plugin", "check", bad]);
        assert!(failed.code == Some(1) && failed.stderr.contains(said), "{}", failed.stderr);
        assert_eq!(occopus.run(["plugin", "install", "--yes", bad]).code, Some(1));
    }
}

#[test]
fn an_installed_plugin_is_pinned_and_has_what_was_agreed_to() {
    let occopus = Occopus::new();
    let file = ping(&occopus);
    let refused = occopus.run(["plugin", "install", path(&file)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("icmp"), "{}", refused.stderr);
    let is_installed = || occopus.ok(["plugin", "list"]).stdout.contains("health-checker-ping.wasm");
    assert!(!is_installed());

    let installed = occopus.ok(["plugin", "install", "--yes", path(&file)]);
    assert!(installed.stderr.contains("It replaces the health-checker `ping`"), "{}", installed.stderr);
    assert!(is_installed());
    let explained = occopus.ok(["plugin", "explain", "ping"]).stdout;
    assert!(explained.contains("icmp: granted by the configuration"), "{explained}");

    let copy = occopus.home().join("plugins/health-checker-ping.wasm");
    let mut bytes = fs::read(&copy).expect("installed");
    let before = occopus.ok(["plugin", "inspect", "ping", "--output", "json"]).stdout;
    let before: serde_json::Value = serde_json::from_str(&before).expect("JSON");
    // A custom section at the end changes nothing but the digest.
    bytes.extend([0, 2, 1, b'x']);
    fs::write(&copy, &bytes).expect("written");
    let listed = occopus.ok(["plugin", "list"]);
    assert!(!listed.stdout.contains("health-checker-ping.wasm"));
    let pinned = before["sha256"].as_str().expect("a digest");
    let said = listed.stderr.replace('\n', " ");
    assert!(said.contains("has changed") && said.contains(pinned), "{said}");

    occopus.ok(["plugin", "install", "--yes", path(&file)]);
    assert!(is_installed());
    occopus.ok(["plugin", "remove", "ping"]);
    assert!(!copy.exists() && !is_installed());
    assert_eq!(occopus.run(["plugin", "remove", "ping"]).code, Some(1));
}

#[test]
fn a_new_project_of_each_kind_builds_as_it_is() {
    let occopus = Occopus::new();
    for (name, kind) in [
        ("my_driver", "driver"),
        ("my_checker", "health-checker"),
        ("my_context", "contextualiser"),
        ("my_manager", "config-manager"),
    ] {
        occopus.ok(["plugin", "new", name, "--kind", kind]);
        assert_eq!(occopus.run(["plugin", "new", name, "--kind", kind]).code, Some(1), "it is there already");
        let mut build = occopus.command(["plugin", "build", name]);
        // All four share what they are built on.
        let built = build.env("CARGO_TARGET_DIR", occopus.directory().join("built")).output().expect("starts");
        let stderr = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success() && !stderr.contains("warning:"), "{stderr}");
        let component = String::from_utf8(built.stdout).expect("a path");
        let checked = occopus.ok(["plugin", "check", component.trim()]).stdout;
        assert!(checked.contains(&format!("kind:        {kind}")) && checked.contains(&format!("keyword:     {name}")));
    }
    assert_eq!(occopus.run(["plugin", "new", "No Name", "--kind", "driver"]).code, Some(2));
}
