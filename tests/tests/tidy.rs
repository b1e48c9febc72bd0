//! The house rules that a program can check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[path = "tidy/cycles.rs"]
mod cycles;

/// Crates that a crate may depend on. Everything else that belongs to this workspace, it may not.
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("occopus-model", &[]),
    ("occopus-engine", &["occopus-model"]),
    ("occopus-store", &["occopus-engine"]),
    ("occopus-runtime", &["occopus-engine", "occopus-model"]),
    ("occopus-conformance", &["occopus-engine", "occopus-model", "occopus-runtime"]),
    (
        "occopus",
        &[
            "occopus-conformance",
            "occopus-engine",
            "occopus-model",
            "occopus-plugins",
            "occopus-runtime",
            "occopus-store",
        ],
    ),
    ("occopus-api", &["occopus-engine", "occopus-model"]),
    ("occopus-server", &["occopus", "occopus-api", "occopus-engine", "occopus-model", "occopus-runtime"]),
    (
        "occopus-cli",
        &[
            "occopus",
            "occopus-api",
            "occopus-conformance",
            "occopus-engine",
            "occopus-model",
            "occopus-runtime",
            "occopus-server",
        ],
    ),
    ("occopus-plugins", &[]),
    (
        "occopus-sdk",
        &[
            "occopus-bindings-config",
            "occopus-bindings-context",
            "occopus-bindings-driver",
            "occopus-bindings-driver-full",
            "occopus-bindings-health",
            "occopus-bindings-imports",
        ],
    ),
    ("occopus-bindings-imports", &[]),
    ("occopus-azure-arm", &["occopus-sdk"]),
];

/// Libraries that plugins of one family share. They are no plugins.
const PLUGIN_LIBRARIES: &[(&str, &[&str])] =
    &[("occopus-azure-arm", &["occopus-driver-azure-aci", "occopus-driver-azure-vm"])];

/// Crates that only one crate of the workspace may name.
const EXCLUSIVE_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("wasmtime", &["occopus-runtime"]),
    ("axum", &["occopus-server"]),
    ("hyper", &["occopus-runtime", "occopus-server"]),
    ("rusqlite", &["occopus-store"]),
    ("clap", &["occopus-cli", "xtask"]),
    ("saphyr-parser", &["occopus-model"]),
    ("utoipa", &["occopus-api", "occopus-engine", "occopus-server"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Returns the metadata of the packages for this platform, which are on the machine already.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", env!("HOST_TRIPLE")])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The packages of this workspace with the names of what they depend on, tests and build scripts aside.
fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let own = packages.iter().filter(|package| package["source"].is_null());
    own.map(|package| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let ordinary = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        (text(&package["name"]).to_owned(), ordinary.map(|dependency| text(&dependency["name"]).to_owned()).collect())
    })
    .collect()
}

#[test]
fn arrows_between_crates_go_one_way() {
    let workspace = workspace();
    for (crate_name, allowed) in ALLOWED_DEPENDENCIES {
        let known: Vec<_> = workspace[*crate_name].iter().filter(|name| workspace.contains_key(*name)).collect();
        for name in known {
            assert!(allowed.contains(&name.as_str()), "{crate_name} must not know {name}");
        }
    }
    for (name, dependencies) in workspace.iter().filter(|(name, _)| {
        ["occopus-config-", "occopus-driver-", "occopus-health-", "occopus-context-"]
            .iter()
            .any(|kind| name.starts_with(kind))
    }) {
        let is_shared =
            |library: &str| PLUGIN_LIBRARIES.iter().any(|(known, by)| *known == library && by.contains(&name.as_str()));
        let known: Vec<_> =
            dependencies.iter().filter(|name| workspace.contains_key(*name) && !is_shared(name)).collect();
        assert_eq!(
            known,
            ["occopus-sdk"],
            "{name} is a plugin: the SDK and the library of its family are all it may know"
        );
    }
}

#[test]
fn some_crates_are_named_in_one_crate_only() {
    let workspace = workspace();
    for (dependency, crates) in EXCLUSIVE_DEPENDENCIES {
        for (crate_name, dependencies) in &workspace {
            let named = dependencies.contains(*dependency);
            assert!(!named || crates.contains(&crate_name.as_str()), "{crate_name} must not name {dependency}");
        }
    }
}

#[test]
fn bodies_of_the_rest_api_are_defined_in_its_crate() {
    let is_derived = |line: &str, name: &str| {
        line.trim_start().starts_with("#[derive(") && line.split([' ', ',', '(', ')']).any(|derived| derived == name)
    };
    for (name, text) in sources() {
        // Queries are not bodies: only the service reads them.
        let forbidden: &[&str] = match name.as_str() {
            name if name.starts_with("host/cli/src/remote/") => &["Serialize", "Deserialize"],
            name if name.starts_with("host/server/src/api/") => &["Serialize"],
            _ => &[],
        };
        let found = text.lines().find(|line| forbidden.iter().any(|name| is_derived(line, name)));
        assert!(found.is_none(), "{name} defines a body, which belongs into host/api: {found:?}");
    }
}

/// Words that no doc comment begins with: its first sentence begins with a verb or a noun (`STYLE.md`).
const FORBIDDEN_FIRST_WORDS: &[&str] =
    &["How", "It", "Its", "So", "These", "Those", "What", "Where", "Whether", "Who", "Whom", "Whose", "Why"];

/// Names for which the field has a word (`docs/glossary.md`).
const FORBIDDEN_NAMES: &[&str] =
    &["Door", "Heard", "Keeper", "Spent", "Steady", "Story", "Told", "Trouble", "Untold", "Wishes", "World"];

/// Lines of a file, and of a function; more wants a reason.
const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// Files and functions that are longer, each with its reason.
const LONGER: &[(&str, &str)] = &[
    ("host/cli/src/args.rs", "every command with its help"),
    ("host/cli/src/report/progress.rs: apply", "one arm for each event"),
    ("host/engine/src/testing/cloud.rs", "one simulated cloud"),
    ("host/engine/tests/maintain.rs", "tests of one loop"),
    ("host/engine/tests/simulation.rs: step", "one arm for each thing that may happen"),
    ("host/occopus/src/editor.rs: description", "one JSON Schema"),
    ("host/server/src/supervise/operate.rs: attempt", "one arm for each kind of work"),
    ("host/server/src/page/tests/fake.rs: status", "one status with everything in it"),
    ("plugins/drivers/docker/src/tests/scripted.rs", "one scripted engine"),
    ("plugins/drivers/ec2/src/refusal.rs: classify", "one table of the API's codes"),
    ("plugins/drivers/ec2/src/tests/mod.rs", "tests of one driver"),
    ("sdk/src/jinja/methods.rs: call_text_method", "one arm for each method of Python's str"),
    ("sdk/src/jinja/tests.rs: pieces", "one table"),
    ("tests/tests/kit.rs: the_conformance_suite_finds_what_is_wrong", "one table of faulty plugins"),
    ("tests/tests/page.rs: an_infrastructure_is_submitted_watched_scaled_and_destroyed", "one visit of the page"),
    ("tests/tests/service.rs", "tests of one service"),
    ("tests/tests/service.rs: the_service_tells_of_itself", "one visit of many routes"),
    ("tests/tests/service_bad_input.rs", "one table of bad input for each route"),
    ("tests/tests/service_bad_input.rs: wrong_ids_methods_and_parameters_on_every_route", "one table"),
    ("tests/tests/service_bad_input.rs: hostile_documents_run_nothing_read_nothing_and_end", "one table"),
    ("tests/tests/service_fairness.rs: a_reading_token_at_full_strength_keeps_nobody_waiting", "one load"),
];

/// Sources of the workspace: path and text.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for part in ["host", "plugins", "sdk/src", "tests/benches", "tests/src", "tests/tests", "xtask/src"] {
        collect(&root().join(part), &mut files);
    }
    let name = |path: &Path| path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    let read = |path: &std::path::PathBuf| (name(path), std::fs::read_to_string(path).expect("readable"));
    files.iter().map(read).filter(|(name, _)| !name.ends_with("tests/tidy.rs")).collect()
}

fn collect(directory: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        let mut is_first = true;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let Some(comment) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
                is_first = true;
                continue;
            };
            let word = comment.trim().split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
            if is_first && FORBIDDEN_FIRST_WORDS.contains(&word) {
                found.push(format!("{name}:{}: {}", number + 1, comment.trim()));
            }
            is_first = false;
        }
    }
    assert!(found.is_empty(), "{} doc comments begin with no verb and no noun:\n{}", found.len(), found.join("\n"));
}

#[test]
fn tests_await_what_happens_or_say_why_they_pause() {
    let of_tests: Vec<_> = sources().into_iter().filter(|(name, _)| name.starts_with("tests/tests/")).collect();
    assert!(!of_tests.is_empty());
    for (name, text) in of_tests {
        assert!(!text.contains("::sleep("), "{name}: `wait::eventually` awaits; `wait::pause` has a reason");
    }
}

#[test]
fn types_have_names_of_the_field() {
    for (name, text) in sources() {
        for line in text.lines() {
            let mut words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let is_type = words.any(|word| matches!(word, "struct" | "enum" | "trait"));
            let defined = words.next().unwrap_or_default();
            assert!(!is_type || !FORBIDDEN_NAMES.contains(&defined), "{name}: the field has a word for {defined}");
        }
    }
}

/// Prefixes of the engine's keys in the store. Others follow its typed changes, and ask it.
const ENGINE_KEYS: &[&str] = &["infra/", "infrastructure/", "definition/", "gone/"];

#[test]
fn keys_of_the_store_have_one_owner() {
    let mut owners = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, text) in sources().iter().filter(|(name, _)| !name.starts_with("host/engine/")) {
        for prefix in ENGINE_KEYS {
            for quote in ['"', '\''] {
                let is_named = text.contains(&format!("{quote}{prefix}"));
                assert!(
                    !is_named,
                    "{name} names the engine's key {prefix}: use `Engine::watch`, or another of its methods"
                );
            }
        }
        for literal in text.split("\"service/").skip(1).filter(|_| name.starts_with("host/server/src/")) {
            let key = literal.split('"').next().unwrap_or_default();
            owners.entry(key.to_owned()).or_default().insert(name.clone());
        }
    }
    assert!(owners.len() > 7, "these keys of the service were found: {owners:?}");
    for (key, files) in owners {
        assert_eq!(files.len(), 1, "the key service/{key} has more than one owner: {files:?}");
    }
}

/// Functions of a file with their lengths, as rustfmt lays them out.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let mut words = line.split_whitespace();
        let is_function = words.by_ref().take_while(|word| !word.starts_with("//")).any(|word| word == "fn");
        let Some(name) = words.next().filter(|_| is_function && !line.ends_with(';')) else { continue };
        let name = name.split(['(', '<']).next().unwrap_or_default();
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

#[test]
fn files_and_functions_are_short() {
    let mut found = BTreeMap::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            found.insert(name.clone(), lines);
        }
        for (function, lines) in functions(&text) {
            if lines > MAX_FUNCTION_LINES {
                found.insert(format!("{name}: {function}"), lines);
            }
        }
    }
    for (name, lines) in &found {
        assert!(LONGER.iter().any(|(longer, _)| longer == name), "{name} has {lines} lines");
    }
    for (name, _) in LONGER {
        assert!(found.contains_key(*name), "{name} is not that long: it needs no exception any more");
    }
}

#[test]
fn instances_become_ready_in_one_place() {
    let engine = sources().into_iter().filter(|(name, _)| name.starts_with("host/engine/src/"));
    let places = engine.flat_map(|(name, text)| {
        let number = text.matches("set_state(InstanceState::Ready").count();
        std::iter::repeat_n(name, number)
    });
    assert_eq!(places.collect::<Vec<_>>(), ["host/engine/src/act/readiness.rs"]);
}

#[test]
fn documents_name_files_that_exist() {
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "STYLE.md", "README.md", "host/engine/SIMULATION.md"] {
        let text = std::fs::read_to_string(root().join(document)).expect("readable");
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split(':').next().unwrap_or_default();
            let is_source = path.contains('/') && path.ends_with(".rs") && !path.contains(['*', ' ', '{']);
            let folders = ["", "host/", "host/engine/src/", "host/engine/"];
            let exists = folders.iter().any(|folder| root().join(folder).join(path).exists());
            assert!(!is_source || exists, "{document} names {path}, which does not exist");
        }
    }
}
