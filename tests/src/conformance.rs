//! `occopus plugin test` for a bundled plugin.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Occopus;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/conformance").join(name)
}

/// Tests a bundled plugin. All checks must pass, except the `skipped` ones, which the fixture does not support.
///
/// # Panics
/// Panics if a check fails, or others are skipped.
pub fn keeps_its_contract(plugin: &str, fixture_name: &str, variables: &[(&str, &str)], skipped: &[&str]) {
    let occopus = Occopus::new();
    let bundled = occopus_plugins::PLUGINS.iter().find(|bundled| bundled.name == plugin).expect("bundled");
    let file = occopus.write("plugin.wasm", bundled.bytes);
    let mut command = occopus.command(["plugin", "test", "--output", "json"]);
    command.arg(file).arg("--with").arg(fixture(fixture_name)).envs(variables.iter().copied());
    let output = command.output().expect("the program starts");
    let report = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::Deserializer::from_str(&report)
        .into_iter()
        .next()
        .and_then(Result::ok)
        .unwrap_or_else(|| panic!("{report}{}", String::from_utf8_lossy(&output.stderr)));
    let checks = report["checks"].as_array().expect("checks");
    let of = |outcome: &str| -> Vec<_> { checks.iter().filter(|check| check["outcome"] == outcome).collect() };
    assert!(of("failed").is_empty(), "{:#?}", of("failed"));
    assert!(output.status.success() && !of("passed").is_empty());
    let names: Vec<_> = of("skipped").iter().filter_map(|check| check["name"].as_str()).collect();
    assert_eq!(names, skipped, "{:#?}", of("skipped"));
}
