//! Descriptions that come over a network: one text, no files.

mod common;

use common::{Files, Plugins};
use indexmap::IndexMap;
use occopus_model::{Compiled, Problems, compile_document, read_definition_document, read_definitions_document};

const PAIR: &str = "infra_name: pair\nuser_id: me\nnodes:\n- &a {name: a, type: web}\n- &b {name: b, type: web}\n\
                    dependencies:\n- [*b, *a]\n'node_def:web':\n- resource:\n    type: local\n";

fn compiled(text: &str) -> Result<Compiled, Problems> {
    compile_document("description", text, &IndexMap::new(), &[], &Plugins)
}

fn codes(problems: &Problems) -> Vec<&str> {
    problems.iter().map(|problem| problem.code()).collect()
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
    let problems = compiled(text).expect_err("refused");
    assert_eq!(codes(&problems), ["import.refused", "import.refused", "type.unknown"]);
    let first = problems.iter().next().expect("one").to_json();
    assert_eq!((&first["file"], &first["line"]), (&"description".into(), &6.into()));
    for tag in ["!env HOME", "!command 'id'", "!!python/object/apply:os.system ['id']", "!python_import x"] {
        let problems = compiled(&format!("infra_name: pair\nuser_id: {tag}\nnodes: []\n")).expect_err(tag);
        assert_eq!(codes(&problems), ["yaml.tag"], "{tag}");
    }
}

#[test]
fn definitions_come_in_one_document_or_one_by_one() {
    let (types, _) = read_definitions_document("definitions", common::WEB, &Plugins).expect("read");
    assert_eq!(types.len(), 1);
    let problems = read_definitions_document("definitions", "web: []\n", &Plugins).expect_err("no definition");
    assert_eq!(codes(&problems), ["key.unknown"]);
    let (list, _) = read_definition_document("web", "- resource: {type: local}\n", "web", &Plugins).expect("read");
    assert_eq!(list.len(), 1);
    let problems =
        read_definition_document("web", "- resource: {type: lokal}\n", "web", &Plugins).expect_err("no plugin");
    assert_eq!(codes(&problems), ["plugin.unknown"]);
    assert!(read_definition_document("web", "", "web", &Plugins).is_err());
}
