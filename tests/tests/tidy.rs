//! The house rules that a program can check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What a room may know. Everything else that belongs to this workspace, it may not.
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
    ("occopus-server", &["occopus", "occopus-engine", "occopus-model", "occopus-runtime"]),
    (
        "occopus-cli",
        &["occopus", "occopus-conformance", "occopus-engine", "occopus-model", "occopus-runtime", "occopus-server"],
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
];

/// Crates that only one room may name.
const EXCLUSIVE_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("wasmtime", &["occopus-runtime"]),
    ("axum", &["occopus-server"]),
    ("hyper", &["occopus-runtime", "occopus-server"]),
    ("rusqlite", &["occopus-store"]),
    ("clap", &["occopus-cli", "xtask"]),
    ("saphyr-parser", &["occopus-model"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// What is built on this platform; that much is on the machine already.
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
fn arrows_between_rooms_go_one_way() {
    let workspace = workspace();
    for (room, allowed) in ALLOWED_DEPENDENCIES {
        let known: Vec<_> = workspace[*room].iter().filter(|name| workspace.contains_key(*name)).collect();
        for name in known {
            assert!(allowed.contains(&name.as_str()), "{room} must not know {name}");
        }
    }
    for (name, dependencies) in workspace.iter().filter(|(name, _)| {
        ["occopus-config-", "occopus-driver-", "occopus-health-", "occopus-context-"]
            .iter()
            .any(|kind| name.starts_with(kind))
    }) {
        let known: Vec<_> = dependencies.iter().filter(|name| workspace.contains_key(*name)).collect();
        assert_eq!(known, ["occopus-sdk"], "{name} is a plugin: the SDK is all it may know");
    }
}

#[test]
fn some_crates_are_named_in_one_room_only() {
    let workspace = workspace();
    for (dependency, rooms) in EXCLUSIVE_DEPENDENCIES {
        for (room, dependencies) in &workspace {
            let named = dependencies.contains(*dependency);
            assert!(!named || rooms.contains(&room.as_str()), "{room} must not name {dependency}");
        }
    }
}
