//! Tests that a compiled infrastructure can be written as one document and compiled again.

mod common;

use common::{Files, Plugins};
use indexmap::IndexMap;
use occopus_model::{
    Compiled, Infrastructure, InstanceLimits, compile_document, document, document_of_definitions,
    read_definitions_document,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn compiled(text: &str) -> Compiled {
    compile_document(
        "description",
        text,
        &IndexMap::new(),
        &["nodecreated", "hold"],
        InstanceLimits::default(),
        &Plugins,
    )
    .unwrap_or_else(|diagnostics| {
        let diagnostics: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        panic!("{text}\n{}", diagnostics.join("\n"))
    })
}

/// Removes the locations in files, and sorts the dependencies.
fn plain(mut infrastructure: Infrastructure) -> Infrastructure {
    for implementation in infrastructure.definitions.values_mut().flatten() {
        implementation.lines.clear();
        implementation.origin.clear();
        implementation.definition_dir.clear();
    }
    infrastructure.nodes.iter_mut().for_each(|node| node.depends_on.sort());
    infrastructure
}

#[track_caller]
fn survives(infrastructure: &Infrastructure) {
    let written = document(infrastructure);
    for text in [written.to_string(), format!("{written:#}")] {
        assert_eq!(plain(compiled(&text).infrastructure), plain(infrastructure.clone()), "{text}");
    }
}

#[test]
fn everything_that_can_be_written_comes_back() {
    let files = Files::new();
    files.write("nodes/part.txt", "#cloud-config\n{{ variables.a }}\n\t\"quoted\" \u{7f} \u{feff}\n");
    let description = "infra_name: all\nuser_id: [1, me]\nvariables: {a: {x: 1, y: [~, 1.5]}, b: 'no', c: {}}\n\
        nodes:\n\
        - &ONE {name: one, type: web, filter: {type: local, mode: background}, scaling: {min: 2, max: 5}}\n\
        - &TWO {name: two, type: web, variables: {a: {x: {z: 1}}, c: 5, d: {}}, scaling: {}}\n\
        - {name: three, type: app, scaling: {min: 5, max: 2}}\n\
        dependencies:\n\
        - connection: [*TWO, *ONE]\n  mappings: [[fqdn, db.host], {attributes: [a, b], synch: true, note: {n: 5}}]\n\
        - [three, one]\n\
        maintenance: {hold_above_percent: 12.5, hold_minutes: 0}\n\
        webhooks: [{name: chat}, {url: 'https://x.example', events: [hold]}]\n";
    let definitions = "'node_def:web':\n\
        - resource: {type: local, mode: background}\n  health_check: {ping: false, ports: [80], timeout: 5, min_ready_seconds: 2.5}\n\
        - resource: {type: cloud, endpoint: e, image: '{{variables.b}}'}\n  \
          contextualisation: {type: cloudinit, context_template: !text_import {url: 'file://part.txt'}}\n\
        'node_def:app':\n- resource: {type: local}\n\
        'node_def:unused':\n- resource: {type: local}\n";
    let compiled = files.compile(description, definitions).unwrap_or_else(|all| panic!("{}", files.render(&all)));
    survives(&compiled.infrastructure);
}

#[test]
fn a_description_without_nodes_is_one() {
    survives(&compiled("infra_name: none\nnodes: []\n").infrastructure);
}

#[test]
fn only_what_differs_is_written_at_a_node() {
    let text = "infra_name: a\nuser_id: u\nvariables: {a: 1, b: {c: 2, d: 3}}\nnodes:\n\
                - {name: n, type: web, variables: {b: {d: 4}}}\n'node_def:web': [{resource: {type: local}}]\n";
    let written = document(&compiled(text).infrastructure);
    assert_eq!(written["nodes"][0], json!({"name": "n", "type": "web", "variables": {"b": {"d": 4}}}));
    let wanted = json!([{"resource": {"type": "local"}, "health_check": {"ping": true, "timeout": 600}}]);
    assert_eq!(written["node_def:web"], wanted);
}

#[test]
fn definitions_alone_come_back() {
    let text = "'node_def:a':\n- resource: {type: local}\n  health_check: {ping: false, urls: ['{{ip}}']}\n\
                'node_def:b':\n- resource: {type: local}\n  contextualisation: {type: basic, attributes: {}}\n";
    let read = |text: &str| read_definitions_document("definitions", text, &Plugins).expect("reads").0;
    let first = read(text);
    let written = document_of_definitions(&first);
    assert_eq!(document_of_definitions(&read(&written.to_string())), written);
    assert_eq!(written["node_def:a"][0]["health_check"], json!({"ping": false, "urls": ["{{ip}}"], "timeout": 600}));
}

/// Generates values, with texts that YAML could take for something else.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,6}",
        any::<String>(),
        prop::sample::select(vec![
            "yes", "null", "~", "0x1F", "1e3", "- a", "a: b", "# no", "!tag", "&a", "{{ x }}", "\n \n", "<"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner).prop_map(Value::Object),
        ]
    })
}

fn object(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    // Few names, so that those of nodes and of the infrastructure coincide.
    prop::collection::btree_map(prop_oneof!["[abc]", "[ -;=-~]{1,8}"], values, 0..4)
        .prop_map(|map| map.into_iter().collect())
}

prop_compose! {
    fn node()(
        is_web in any::<bool>(),
        filter in any::<bool>(),
        limits in prop::option::of((0..9u32, 0..9u32)),
        variables in prop::option::of(object(value())),
        needs in prop::collection::vec((0..6usize, 0..3usize), 0..4),
    ) -> (Value, Vec<(usize, usize)>) {
        let mut node = json!({"type": if is_web { "web" } else { "app" }});
        if is_web && filter {
            node["filter"] = json!({"type": "cloud"});
        }
        if let Some((min, max)) = limits {
            node["scaling"] = json!({"min": min, "max": max});
        }
        if let Some(variables) = variables {
            node["variables"] = variables.into();
        }
        (node, needs)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_description_comes_back(
        variables in object(value()),
        user_id in value(),
        nodes in prop::collection::vec(node(), 1..6),
        size in value(),
        attributes in object(value()),
        hold in prop::option::of(0.0..100.0f64),
    ) {
        let mut dependencies = Vec::new();
        let mut list = Vec::new();
        for (at, (mut node, needs)) in nodes.into_iter().enumerate() {
            node["name"] = json!(format!("n{at}"));
            list.push(node);
            // Only earlier ones, so that there is no circle.
            for (other, mappings) in needs.into_iter().filter(|(other, _)| *other < at) {
                let pair = json!([format!("n{at}"), format!("n{other}")]);
                dependencies.push(match mappings {
                    0 => pair,
                    1 => json!({"connection": pair, "mappings": [["a", "b.c"]]}),
                    _ => json!({"connection": pair, "mappings": [{"attributes": ["d", "e"], "synch": true, "more": at}]}),
                });
            }
        }
        let mut description = json!({
            "infra_name": "any",
            "user_id": user_id,
            "variables": variables,
            "nodes": list,
            "dependencies": dependencies,
            "node_def:web": [
                {"resource": {"type": "cloud", "endpoint": "e", "image": "i", "size": size}},
                {"resource": {"type": "local"}, "health_check": {"ping": false}},
            ],
            "node_def:app": [
                {"resource": {"type": "local"}, "contextualisation": {"type": "basic", "attributes": attributes}},
            ],
        });
        if let Some(hold) = hold {
            description["maintenance"] = json!({"hold_above_percent": hold});
        }
        survives(&compiled(&description.to_string()).infrastructure);
    }
}
