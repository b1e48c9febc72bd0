//! Third-party plugins: inspected, installed, pinned, removed.

use std::fs;
use std::path::{Path, PathBuf};

use occopus_tests::{Occopus, has_python};

/// Writes the bundled `ping`, a plugin that requests a grant, as a file.
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
    for (bad, message) in [(path(&text), "is not a component"), ("nowhere.wasm", "can't be read")] {
        let failed = occopus.run(["plugin", "check", bad]);
        assert!(failed.code == Some(1) && failed.stderr.contains(message), "{}", failed.stderr);
        assert_eq!(occopus.run(["plugin", "install", "--yes", bad]).code, Some(1));
    }
}

#[test]
fn an_installed_plugin_is_pinned_and_has_what_was_agreed_to() {
    let occopus = Occopus::new();
    let file = ping(&occopus);
    let refused = occopus.run(["plugin", "install", "--yes", path(&file)]);
    let message = refused.stderr.replace('\n', " ");
    assert!(
        refused.code == Some(1) && message.contains("it would replace the bundled health-checker `ping`"),
        "{message}"
    );
    let refused = occopus.run(["plugin", "install", "--replace", path(&file)]);
    let message = refused.stderr.replace('\n', " ");
    assert!(
        refused.code == Some(1) && message.contains("consent is required to replace") && message.contains("icmp"),
        "{message}"
    );
    let is_installed = || occopus.ok(["plugin", "list"]).stdout.contains("health-checker-ping.wasm");
    assert!(!is_installed());

    let installed = occopus.ok(["plugin", "install", "--replace", "--yes", path(&file)]);
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
    let message = listed.stderr.replace('\n', " ");
    assert!(message.contains("has changed") && message.contains(pinned), "{message}");

    occopus.ok(["plugin", "install", "--replace", "--yes", path(&file)]);
    assert!(is_installed());
    occopus.ok(["plugin", "remove", "ping"]);
    assert!(!copy.exists() && !is_installed());
    assert_eq!(occopus.run(["plugin", "remove", "ping"]).code, Some(1));
}

/// Writes the driver `impostor`, with another description of itself.
fn impostor(occopus: &Occopus, fields: &[(&str, &str)]) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins/impostor.wasm");
    let mut bytes = fs::read(path).expect("the plugin");
    for (field, text) in fields {
        let mark = format!("@@{field}@@");
        let at = bytes.windows(mark.len()).position(|window| window == mark.as_bytes()).expect("the mark");
        let room = &mut bytes[at + mark.len()..at + 256];
        room.fill(0);
        room[..text.len()].copy_from_slice(text.as_bytes());
    }
    occopus.write("impostor.wasm", bytes)
}

#[test]
fn what_a_plugin_gets_is_shown_and_asked_for() {
    let occopus = Occopus::new();
    occopus.write(
        "home/occopus_config.yaml",
        "plugins: {nova: {interfaces: [reveal, process]}, mine: {interfaces: [reveal]}}\n",
    );
    let install = |fields: &[(&str, &str)], options: &[&str]| {
        let file = impostor(&occopus, fields);
        let finished = occopus.run(["plugin", "install", path(&file)].iter().chain(options));
        (finished.code, finished.stderr.replace('\n', " "))
    };
    let evil = [("NAME", "nova"), ("KEYWORD", "evilnova")];
    for options in [&["--yes"][..], &["--yes", "--replace"]] {
        let (code, message) = install(&evil, options);
        assert!(
            code == Some(1) && message.contains("its name `nova` is already used by the bundled driver `nova`"),
            "{message}"
        );
    }
    assert!(!occopus.home().join("plugins/driver-nova.wasm").exists());

    // It requests the hosts that its endpoint announces, and the configuration has more for its name.
    let mine = [("NAME", "mine"), ("KEYWORD", "mine"), ("NETWORK", "endpoint announced")];
    let (code, message) = install(&mine, &[]);
    assert!(code == Some(1) && message.contains("consent is required to grant announced, reveal to mine"), "{message}");
    assert!(message.contains("reveal: granted by the configuration, although it does not ask for it"), "{message}");
    let (code, message) = install(&mine, &["--yes"]);
    assert_eq!(code, Some(0), "{message}");

    // Another one of its kind and keyword, and one with its name.
    let (code, message) = install(&[("NAME", "other"), ("KEYWORD", "mine")], &["--yes"]);
    assert!(code == Some(1) && message.contains("it would replace the installed driver `mine`"), "{message}");
    let (code, message) = install(&[("NAME", "mine"), ("KEYWORD", "other")], &["--yes"]);
    assert!(
        code == Some(1) && message.contains("its name `mine` is already used by the installed driver `mine`"),
        "{message}"
    );
    let (code, message) = install(&[("NAME", "other"), ("KEYWORD", "mine")], &["--yes", "--replace"]);
    assert_eq!(code, Some(0), "{message}");
    let list = occopus.ok(["plugin", "list"]);
    assert!(list.stdout.contains("driver-other.wasm") && !list.stdout.contains("driver-mine.wasm"), "{}", list.stdout);

    let (code, message) = install(&[("VERSION", "1.0\n  network: none")], &["--yes"]);
    assert!(code == Some(1) && message.contains("its version `1.0\\u{a}  network: none` is not valid"), "{message}");
}

#[test]
fn a_file_that_nobody_installed_replaces_nothing() {
    let occopus = Occopus::new();
    let docker = fs::read(impostor(&occopus, &[("NAME", "docker"), ("KEYWORD", "docker")])).expect("made");
    occopus.write("home/plugins/docker.wasm", docker);
    let list = occopus.ok(["plugin", "list"]);
    assert!(!list.stdout.contains("docker.wasm"), "{}", list.stdout);
    let message = list.stderr.replace('\n', " ");
    assert!(
        message.contains("it would replace the bundled driver `docker`") && message.contains("--replace"),
        "{message}"
    );
}

/// Builds a project, and returns the component.
fn build(occopus: &Occopus, project: &str) -> String {
    let mut build = occopus.command(["plugin", "build", project]);
    let built = build.env("CARGO_TARGET_DIR", occopus.shared_path("plugins-built-for-tests")).output().expect("starts");
    let stderr = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !stderr.contains("warning:"), "{stderr}");
    String::from_utf8(built.stdout).expect("a path").trim().to_owned()
}

/// Replaces a text that occurs once.
fn change(text: &mut String, from: &str, to: &str) {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    *text = text.replace(from, to);
}

#[test]
fn a_new_project_of_each_kind_builds_and_conforms_as_it_is() {
    let has_python = has_python("a_new_project_of_each_kind_builds_and_conforms_as_it_is");
    let occopus = Occopus::new();
    for (name, kind, skipped) in [
        ("my_driver", "driver", 1),
        ("my_checker", "health-checker", 1),
        ("my_context", "contextualiser", 1),
        ("my_manager", "config-manager", 1),
    ] {
        occopus.ok(["plugin", "new", name, "--kind", kind]);
        assert_eq!(occopus.run(["plugin", "new", name, "--kind", kind]).code, Some(1), "it is there already");
        let component = build(&occopus, name);
        let checked = occopus.ok(["plugin", "check", &component]).stdout;
        assert!(checked.contains(&format!("kind:        {kind}")) && checked.contains(&format!("keyword:     {name}")));
        if has_python {
            let fixture = format!("{name}/conformance.yaml");
            let tested = occopus.ok(["plugin", "test", &component, "--with", &fixture]).stdout;
            assert!(tested.contains(&format!(" 0 failed, {skipped} skipped")), "{tested}");
        }
    }
    assert_eq!(occopus.run(["plugin", "new", "No Name", "--kind", "driver"]).code, Some(2));
}

#[test]
fn an_interface_that_is_used_must_be_declared() {
    let occopus = Occopus::new();
    occopus.ok(["plugin", "new", "sly", "--kind", "health-checker"]);
    let path = occopus.directory().join("sly/src/lib.rs");
    let mut code = fs::read_to_string(&path).expect("the code");
    let look =
        "let _ = occopus_sdk::icmp::echo(&target.address, std::time::Duration::from_secs(1));\n        let mut line";
    change(&mut code, "let mut line", look);
    fs::write(&path, code).expect("written");
    let component = build(&occopus, "sly");
    let checked = occopus.run(["plugin", "check", &component]);
    assert!(checked.code == Some(1) && checked.stderr.contains("the plugin imports icmp"), "{}", checked.stderr);
}

/// A driver with mistakes that are switched on by its section, and the checks that must find them.
#[test]
fn the_conformance_suite_finds_what_is_wrong() {
    const TEST: &str = "the_conformance_suite_finds_what_is_wrong";
    const MISTAKES: [(&str, &str); 15] = [
        ("forgets-tokens", "create-again"),
        ("believes-nothing-happened", "faults-create"),
        ("retries-a-500", "faults-create"),
        ("takes-faults-for-absence", "faults-observe"),
        ("takes-a-wrong-key-for-absence", "wrong-credentials"),
        ("complains-about-what-is-gone", "destroy-again"),
        ("ignores-retry-after", "faults-find"),
        ("takes-a-page-for-a-removal", "strangers-destroy"),
        ("takes-any-object-for-a-removal", "strangers-destroy"),
        ("believes-strangers", "strangers-observe"),
        ("asks-nobody-who-answers", "another-server"),
        ("reads-one-page", "observe-1000"),
        ("finds-nothing", "find"),
        ("answers-in-another-order", "observe"),
        ("points-nowhere", "wrong-section"),
    ];
    if !has_python(TEST) {
        return;
    }
    let occopus = Occopus::new();
    occopus.ok(["plugin", "new", "wrong", "--kind", "driver"]);
    let path = occopus.directory().join("wrong/src/lib.rs");
    let mut code = fs::read_to_string(&path).expect("the code");
    for (from, to) in [
        ("    pub size: String,\n", "    pub size: String,\n    #[serde(default)]\n    mistake: String,\n"),
        (
            "    let url = scope.call()",
            "    MISTAKE.with(|it| it.replace(scope.section.mistake.clone()));\n    let url = scope.call()",
        ),
        (
            "pub struct Plugin;",
            "pub struct Plugin;\nthread_local!(static MISTAKE: std::cell::RefCell<String> = Default::default());\n\
             fn has(mistake: &str) -> bool { MISTAKE.with(|it| *it.borrow() == mistake) }\n",
        ),
        (
            "\"instance\": request.instance_id,",
            "\"instance\": if request.scope.section.mistake == \"forgets-tokens\" { \
             format!(\"{:?}\", std::time::SystemTime::now()) } else { request.instance_id.clone() },",
        ),
        (
            "error.of_change(\"wrong.unreachable\")",
            "if has(\"believes-nothing-happened\") { error.of_reading(\"x\") } else { error.of_change(\"wrong.unreachable\") }",
        ),
        (
            "            let (cloud, page) = list(scope, &format!(\"/machines?after={}\", encoded(&cursor)))?;",
            "            let (cloud, page) = match list(scope, &format!(\"/machines?after={}\", encoded(&cursor))) {\n\
             Err(fault) if has(\"takes-faults-for-absence\") && fault.code != \"wrong.denied\" => break,\n\
             Err(fault) if has(\"takes-a-wrong-key-for-absence\") && fault.code == \"wrong.denied\" => break,\n\
             page => page?,\n};",
        ),
        ("            next = page.next;", "            next = if has(\"reads-one-page\") { None } else { page.next };"),
        (
            "        let is_gone = response.status == 404 && ",
            "        if has(\"takes-a-page-for-a-removal\") { return Ok(()); }\n\
             if has(\"takes-any-object-for-a-removal\") && response.status == 404 && response.text().starts_with('{') { return Ok(()); }\n\
             let is_gone = !has(\"complains-about-what-is-gone\") && response.status == 404 && ",
        ),
        (
            "        Some((its, id)) if its == cloud => Ok(id),",
            "        Some((its, id)) if its == cloud || has(\"asks-nobody-who-answers\") => Ok(id),",
        ),
        (
            "    let response = accepted(response, nothing_said)?;\n",
            "    let response = match accepted(response, nothing_said) {\n\
             Err(fault) if has(\"believes-strangers\") && fault.code == \"wrong.not-the-cloud\" => {\n\
             let json = serde_json::from_value(serde_json::json!({\"machines\": []}));\n\
             return json.map(|nothing| (String::new(), nothing)).map_err(|_| fault);\n}\n\
             response => response?,\n};\n",
        ),
        (
            "            for handle in handles {\n",
            "            for handle in handles.iter().filter(|_| !has(\"believes-strangers\")) {\n",
        ),
        (
            "500.. => Fault::new(nothing_said,",
            "500.. if has(\"retries-a-500\") => Fault::retry(\"x\", said),\n500.. => Fault::new(nothing_said,",
        ),
        ("Some(delay) =>", "Some(delay) if !has(\"ignores-retry-after\") =>"),
        ("        None => fault,\n", "        _ => fault,\n"),
        (
            "Ok(found.machines.into_iter().next().map(|machine| machine.observed(&cloud)))",
            "if has(\"finds-nothing\") { return Ok(None); }\n\
             Ok(found.machines.into_iter().next().map(|machine| machine.observed(&cloud)))",
        ),
        (
            "        Ok(handles\n            .iter()\n",
            "        let mut handles = handles.to_vec();\n\
             if has(\"answers-in-another-order\") { handles.reverse(); }\n\
             Ok(handles\n.iter()\n",
        ),
        ("422 => ", "422 if has(\"points-nowhere\") => Fault::give_up(\"wrong.bad-size\", said),\n422 => "),
    ] {
        change(&mut code, from, to);
    }
    fs::write(&path, code).expect("written");
    let component = build(&occopus, "wrong");
    let fixture = fs::read_to_string(occopus.directory().join("wrong/conformance.yaml")).expect("a fixture");
    let fixture = fixture.replace("machines: 250", "machines: 3");
    std::thread::scope(|scope| {
        for (mistake, check) in MISTAKES {
            // More than a page.
            let machines = if mistake == "reads-one-page" { "machines: 250" } else { "machines: 3" };
            let mut fixture = fixture.replace("machines: 3", machines);
            change(&mut fixture, "  size: small\n", &format!("  size: small\n  mistake: {mistake}\n"));
            let file = format!("wrong/{mistake}.yaml");
            occopus.write(&file, fixture);
            let (occopus, component) = (&occopus, &component);
            scope.spawn(move || {
                let tested = occopus.run(["plugin", "test", component, "--with", &file]);
                let found = tested.stdout.lines().any(|line| line.starts_with(&format!("FAIL  {check} ")));
                assert!(tested.code == Some(1) && found, "{mistake}: {}{}", tested.stdout, tested.stderr);
            });
        }
    });
}

#[test]
fn a_fixture_that_is_wrong_is_refused_with_its_line() {
    let occopus = Occopus::new();
    let ping = ping(&occopus);
    for (text, message) in [
        ("resource: {}\n", "needs `health_check`"),
        ("health_check: true\nport: 1\n", "line 2"),
        ("health_check: 1\n", "`health_check`"),
        ("health_check: true\nserver: {command: [no-such-program]}\n", "`no-such-program` does not start"),
        ("health_check: true\nserver: {command: [\"false\"]}\n", "ended at once"),
    ] {
        occopus.write("fixture.yaml", text);
        let failed = occopus.run(["plugin", "test", path(&ping), "--with", "fixture.yaml"]);
        assert!(failed.code == Some(3) && failed.stderr.contains(message), "{text}: {}", failed.stderr);
    }
}
