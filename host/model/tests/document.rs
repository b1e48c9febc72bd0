//! Tests of descriptions that come over a network: one text, no files.

mod common;

use common::{Files, Plugins};
use indexmap::IndexMap;
use occopus_model::{
    Compiled, Diagnostic, Diagnostics, InstanceLimits, compile_document, read_definition_document,
    read_definitions_document,
};

const PAIR: &str = "infra_name: pair\nuser_id: me\nnodes:\n- &a {name: a, type: web}\n- &b {name: b, type: web}\n\
                    dependencies:\n- [*b, *a]\n'node_def:web':\n- resource:\n    type: local\n";

fn compiled(text: &str) -> Result<Compiled, Diagnostics> {
    compile_document("description", text, &IndexMap::new(), &[], InstanceLimits::default(), &Plugins)
}

fn codes(diagnostics: &Diagnostics) -> Vec<&str> {
    diagnostics.iter().map(|diagnostic| diagnostic.code()).collect()
}

#[test]
fn a_description_carries_its_definitions() {
    let infrastructure = compiled(PAIR).expect("compiles").infrastructure;
    assert_eq!(infrastructure.node("b").expect("b").depends_on, ["a"]);
    let implementation = &infrastructure.definitions["web"][0];
    assert_eq!(implementation.definition_dir, "", "it names no directory of this machine");
    assert!(implementation.origin.starts_with("description:"), "{}", implementation.origin);
}

#[test]
fn files_may_carry_them_too_but_not_twice() {
    let files = Files::new();
    let compiled = files.compile(
        PAIR.replace("'node_def:web'", "'node_def:own'").replace("&b {name: b, type: web}", "&b {name: b, type: own}"),
        common::WEB,
    );
    assert_eq!(compiled.expect("compiles").infrastructure.definitions.len(), 2);
    let twice = files.compile(PAIR, common::WEB).expect_err("twice");
    assert_eq!(codes(&twice), ["type.twice"]);
}

#[test]
fn nothing_is_imported_and_problems_have_lines() {
    let text = "infra_name: pair\nuser_id: me\nnodes:\n- {name: a, type: web}\nvariables:\n  \
                secret: !text_import\n    url: file:///etc/passwd\n  more: !yaml_import {url: 'file://x'}\n";
    let diagnostics = compiled(text).expect_err("refused");
    assert_eq!(codes(&diagnostics), ["import.refused", "import.refused", "type.unknown"]);
    let first = diagnostics.iter().next().expect("one").to_file_diagnostic();
    assert_eq!((first.file.as_deref(), first.line), (Some("description"), Some(6)));
    for tag in ["!env HOME", "!command 'id'", "!!python/object/apply:os.system ['id']", "!python_import x"] {
        let diagnostics = compiled(&format!("infra_name: pair\nuser_id: {tag}\nnodes: []\n")).expect_err(tag);
        assert_eq!(codes(&diagnostics), ["yaml.tag"], "{tag}");
    }
}

#[test]
fn definitions_come_in_one_document_or_one_by_one() {
    let (types, _) = read_definitions_document("definitions", common::WEB, &Plugins).expect("read");
    assert_eq!(types.len(), 1);
    let diagnostics = read_definitions_document("definitions", "web: []\n", &Plugins).expect_err("no definition");
    assert_eq!(codes(&diagnostics), ["key.unknown"]);
    let (list, _) = read_definition_document("web", "- resource: {type: local}\n", "web", &Plugins).expect("read");
    assert_eq!(list.len(), 1);
    let diagnostics =
        read_definition_document("web", "- resource: {type: lokal}\n", "web", &Plugins).expect_err("no plugin");
    assert_eq!(codes(&diagnostics), ["plugin.unknown"]);
    assert!(read_definition_document("web", "", "web", &Plugins).is_err());
}

#[test]
fn few_words_ask_for_no_more_than_is_allowed_and_the_line_is_told() {
    let with = |nodes: &str| {
        format!("infra_name: pair\nuser_id: me\nnodes:\n{nodes}'node_def:web':\n- resource:\n    type: local\n")
    };
    let limits = InstanceLimits { per_node: 100, per_infrastructure: 150 };
    let compiled = |nodes: &str| compile_document("description", &with(nodes), &IndexMap::new(), &[], limits, &Plugins);
    let refused = |nodes: &str| {
        let diagnostics = compiled(nodes).expect_err(nodes);
        let line = |diagnostic: &Diagnostic| diagnostic.to_file_diagnostic().line.unwrap_or_default();
        diagnostics.iter().map(|diagnostic| (diagnostic.code().to_owned(), line(diagnostic))).collect::<Vec<_>>()
    };
    let node = |name: &str, min: &str| format!("- name: {name}\n  type: web\n  scaling:\n    min: {min}\n");
    let too_many = |line| ("scaling.too-many".to_owned(), line);
    assert_eq!(refused(&node("a", "4000000000")), [too_many(7)]);
    assert_eq!(refused(&node("a", "101")), [too_many(7)]);
    assert_eq!(refused(&[node("a", "100"), node("b", "51"), node("c", "1")].concat()), [too_many(11)]);
    // Scaling later is allowed within the same limits.
    let highest = compiled(&format!("{}    max: 4000000000\n", node("a", "100"))).expect("compiles");
    assert_eq!(highest.infrastructure.nodes[0].scaling.max, 4_000_000_000);
    assert!(compiled(&[node("a", "100"), node("b", "50")].concat()).is_ok());
}

#[test]
fn few_words_stand_for_no_more_text_than_there_is_room_for() {
    let nodes: String = (0..2000).map(|at| format!("- {{name: n{at}, type: web}}\n")).collect();
    let head = "infra_name: pair\nuser_id: me\n";
    let definition = "'node_def:web':\n- resource:\n    type: local\n";
    let large = "x".repeat(50_000);
    // Every node has a copy of the shared variables.
    let shared = format!("{head}variables: {{a: {large}}}\nnodes:\n{nodes}{definition}");
    assert_eq!(codes(&compiled(&shared).expect_err("too much")), ["variables.size"]);
    // Aliases repeat their nodes.
    let own = nodes.replace("web}", "web, variables: {a: *a}}").replacen("*a", &format!("&a {large}"), 1);
    assert_eq!(codes(&compiled(&format!("{head}nodes:\n{own}{definition}")).expect_err("too much")), ["yaml.size"]);
    let sections = (0..2000).fold(String::new(), |text, at| {
        text + &format!("'node_def:t{at}':\n- resource:\n    type: local\n    x: *a\n")
    });
    let sections = sections.replacen("*a", &format!("&a {large}"), 1);
    assert_eq!(codes(&compiled(&format!("{head}nodes: []\n{sections}")).expect_err("too much")), ["yaml.size"]);
    let many = format!("{head}nodes: []\nvariables: {{a: [{}]}}\n", ["b"; 200_000].join(","));
    assert_eq!(codes(&compiled(&many).expect_err("too many")), ["yaml.size"]);
    let choices = format!("{head}nodes:\n{nodes}'node_def:web':\n{}", "- resource: {type: local}\n".repeat(100));
    assert_eq!(codes(&compiled(&choices).expect_err("too many")), ["implementations.too-many"]);
    // These limits do not apply to files.
    let files = Files::new();
    assert!(files.compile(shared.replace(definition, ""), common::WEB).is_ok());
}
