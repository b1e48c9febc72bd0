//! The example plugins in other languages than Rust can be built, and keep their contracts.

use std::path::Path;
use std::process::{Command, Stdio};

use occopus_tests::{Occopus, skip};

/// Builds an example with its script, and tests the plugin. Tools are programs, with arguments that show that they are installed.
fn builds_and_conforms(example: &str, component: &str, tools: &[&[&str]]) {
    for tool in tools {
        let mut probe = Command::new(tool[0]);
        probe.args(&tool[1..]).stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            return skip(example, &format!("`{}` is not installed (see examples/plugins/README.md)", tool.join(" ")));
        }
    }
    let occopus = Occopus::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins").join(example);
    let mut build = Command::new(folder.join("build.sh"));
    build.arg(occopus.directory()).env("OCCOPUS", occopus.program()).env("OCCOPUS_HOME", occopus.home());
    let built = build.output().expect("it starts");
    let log = [built.stdout, built.stderr].concat();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&log));
    let mut test = occopus.command(["plugin", "test", component, "--with"]);
    let tested = test.arg(folder.join("conformance.yaml")).output().expect("it starts");
    let report = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success() && report.contains(" 0 failed"), "{report}");
}

#[test]
fn python() {
    builds_and_conforms("redis-python", "redis.wasm", &[&["componentize-py", "--version"]]);
}

#[test]
fn javascript() {
    let tools: &[&[&str]] = &[&["componentize-js", "--version"], &["python3", "--version"]];
    builds_and_conforms("cloud-javascript", "made_up.wasm", tools);
}

#[test]
fn c() {
    let tools: &[&[&str]] =
        &[&["wit-bindgen", "--version"], &["python3", "-m", "ziglang", "version"], &["jco", "--version"]];
    builds_and_conforms("ssh-c", "ssh.wasm", tools);
}
