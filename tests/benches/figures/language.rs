//! Reading, checking and compiling a large description, beside a plain parse of the same text by the same YAML library.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use occopus_model::{CompileInput, Schemas, SectionKind, compile};
use occopus_tests::Occopus;
use saphyr_parser::Parser;
use serde_json::Value;

use crate::measure::{count, line, median, ratio};

struct AnySection;

impl Schemas for AnySection {
    fn schema(&self, _: SectionKind, _: &str) -> Option<Arc<Value>> {
        Some(Arc::new(serde_json::json!({"type": "object"})))
    }

    fn keywords(&self, _: SectionKind) -> Vec<String> {
        vec!["local".to_owned()]
    }

    fn credentials_schema(&self, _: SectionKind, _: &str) -> Option<Arc<Value>> {
        None
    }
}

const DEFINITIONS: &str = "'node_def:sleeper':\n- resource: {type: local}\n  health_check: {ping: false}\n";

/// Nodes that each depend on three of those before them.
fn description(nodes: usize) -> String {
    let mut text = String::from("infra_name: large\nuser_id: bench\nvariables: {greeting: hello}\nnodes:\n");
    for at in 0..nodes {
        writeln!(text, "- &n{at}\n  name: node-{at}\n  type: sleeper\n  scaling: {{min: 1, max: 3}}").expect("text");
    }
    text += "dependencies:\n";
    for at in 3..nodes {
        for step in 1..=3 {
            writeln!(text, "- connection: [*n{at}, *n{}]", at - step).expect("text");
        }
    }
    text
}

fn compiled(nodes: usize) -> (Duration, Duration) {
    let directory = tempfile::tempdir().expect("a directory");
    let text = description(nodes);
    let path = directory.path().join("infra.yaml");
    std::fs::write(&path, &text).expect("written");
    std::fs::create_dir(directory.path().join("nodes")).expect("a directory");
    std::fs::write(directory.path().join("nodes/node_definitions.yaml"), DEFINITIONS).expect("written");
    let input = CompileInput { description: path, ..CompileInput::default() };
    let runs = if nodes > 50_000 { 1 } else { 5 };
    let parsed = median(runs, || {
        let events = Parser::new_from_str(&text).filter(|event| event.is_ok()).count();
        assert!(events > nodes);
    });
    let compiled = median(runs, || {
        let compiled = compile(&input, &AnySection).expect("valid");
        assert_eq!(compiled.infrastructure.nodes.len(), nodes);
    });
    (parsed, compiled)
}

pub(crate) fn run() {
    for nodes in [1_000, 10_000, 100_000] {
        let (parsed, compiled) = compiled(nodes);
        line(&format!("{nodes} nodes, {} dependencies: parsed only", 3 * nodes), parsed);
        line("the same: compiled", compiled);
        ratio("ratio", compiled, parsed, 2.5);
    }
    let occopus = Occopus::new();
    occopus.write("infra.yaml", description(10_000));
    occopus.write("nodes/node_definitions.yaml", DEFINITIONS);
    line(
        "`occopus validate` of 10000 nodes, whole process",
        median(5, || drop(occopus.ok(["validate", "infra.yaml"]))),
    );
    count("its peak memory in MiB", f64::from(peak_kib(&occopus)) / 1024.0);
}

/// Returns the highest resident memory of `occopus validate`, sampled every millisecond.
fn peak_kib(occopus: &Occopus) -> u32 {
    let mut child = occopus.command(["validate", "infra.yaml"]).spawn().expect("starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a status").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(1));
    }
    peak
}
