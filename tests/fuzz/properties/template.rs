//! Input of a template: it is rendered or refused, within its limits, and text that is not a template is unchanged.

use std::sync::Arc;

use occopus_sdk::jinja::Templates;
use occopus_sdk::testing::FakeFacts;
use occopus_sdk::{Address, Facts, Instance};
use serde_json::{Value, json};

/// Largest size of rendered text in bytes: 64 for each unit of the work that a template may do.
const LONGEST: usize = 64 * 500_000;

/// Renders the input in each of the ways in which templates are rendered.
pub(crate) fn hold(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let rendered = templates().text("/here", source);
    match &rendered {
        Ok(text) => assert!(text.len() <= LONGEST + source.len(), "{} bytes", text.len()),
        Err(fault) => {
            assert!(!fault.message.is_empty() && !fault.code.is_empty(), "{fault:?}");
            assert!(fault.details.iter().any(|detail| detail.pointer == "/here"), "{fault:?}");
            for line in fault.details.iter().filter_map(|detail| detail.message.strip_prefix("line ")) {
                let number: usize = line.split(':').next().and_then(|number| number.parse().ok()).expect("a number");
                assert!(number <= source.split('\n').count() + 1, "line {number} of {source:?}");
            }
        }
    }
    let kept = templates().keeping_newlines().text("/here", source);
    if !["{{", "{%", "{#"].iter().any(|mark| source.contains(mark)) {
        let plain = source.replace("\r\n", "\n").replace('\r', "\n");
        let same = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(same(&kept.expect("it is no template")), plain);
        assert_eq!(same(&rendered.expect("it is no template")), plain.strip_suffix('\n').unwrap_or(&plain));
    }
    drop(templates().folding().text("/here", source));
    let value = json!({"a": [source], source: 1, "b": {"c": source}});
    if let Ok(value) = templates().value("", &value) {
        assert!(value.get(source).is_some(), "keys stay");
    }
}

fn templates() -> Templates {
    let address = |value: &str, internal| Address { value: value.to_owned(), internal };
    let instance = |node: &str, data: Value| Instance {
        instance_id: format!("{node}-id"),
        node_name: node.to_owned(),
        addresses: vec![address("10.0.0.1", false), address("192.168.0.1", true)],
        data,
    };
    let facts: Arc<dyn Facts> =
        Arc::new(FakeFacts(vec![instance("master", json!({"node_id": "m"})), instance("worker", json!({}))]));
    let variables = json!({
        "name": "x", "infra_id": "i-1", "node_id": "n-1",
        "variables": {"list": ["a", "it's"], "map": {"k": 1, "b": true, "n": null}, "text": "a\n\nb", "big": u64::MAX, "f": 1.5},
    });
    Templates::new(&variables).with_facts(&facts)
}
