use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::Templates;
use crate::testing::FakeFacts;
use crate::{Address, Facts, Instance, Reaction};

fn instance(node: &str, addresses: &[(&str, bool)]) -> Instance {
    Instance {
        instance_id: format!("{node}-id"),
        node_name: node.to_owned(),
        addresses: addresses
            .iter()
            .map(|(value, internal)| Address { value: (*value).to_owned(), internal: *internal })
            .collect(),
        data: json!({"node_id": format!("{node}-id")}),
    }
}

fn templates() -> Templates {
    let facts: Arc<dyn Facts> = Arc::new(FakeFacts(vec![
        instance("master", &[("10.0.0.1", false), ("192.168.0.1", true)]),
        instance("worker", &[("10.0.0.2", false)]),
        instance("worker", &[("10.0.0.3", false)]),
    ]));
    Templates::new(&json!({
        "name": "x",
        "variables": {"list": ["a", "it's"], "map": {"k": 1, "b": true, "n": null}, "flowbster": {"app": {"in": "deep"}}},
    }))
    .with_facts(&facts)
}

#[track_caller]
fn renders(source: &str, expected: &str) {
    assert_eq!(templates().text("", source).expect("it renders"), expected, "{source}");
}

#[test]
fn values_print_as_in_python() {
    renders("{{ variables.list }}", r#"['a', "it's"]"#);
    renders("{{ variables.map }}", "{'k': 1, 'b': True, 'n': None}");
    renders("{{ variables.map.b }} {{ variables.map.n }} {{ nowhere }}|{{ 1.0 }}", "True None |1.0");
    renders("{% for k, v in variables.map.items() %}{{ k }}={{ v }};{% endfor %}", "k=1;b=True;n=None;");
    renders("{{ variables.map.get('none', 'other') }}", "other");
}

#[test]
fn syntax_is_that_of_jinja2() {
    renders("{{variables.flowbster.app.in}}", "deep");
    renders("a\n\n", "a\n");
    renders("<{{ '<b>' }}>", "<<b>>");
    renders("{% raw %}{{ x }}{% endraw %}", "{{ x }}");
    renders("{{ 'hi' | b64encode }}", "aGk=");
}

#[test]
fn addresses_are_found() {
    renders(
        "{{ getip('master') }} {{ getprivip('master') }} {{ getprivip('worker') }}",
        "10.0.0.1 192.168.0.1 10.0.0.2",
    );
    renders("{{ getipall('worker') }}", "['10.0.0.2', '10.0.0.3']");
    renders("{{ getip(master) }}", "10.0.0.1");
    renders("{{ find_node_id('worker').node_id }}", "worker-id");
    renders("{{ find_node_id('worker', allnodes=True) | length }}", "2");
    renders("{{ cut('abcdef', 1, -1) }}{{ cut('abc', -2, 99) }}{{ cut('abc', 2, 1) }}", "bcdebc");
}

#[test]
fn errors_tell_the_place() {
    let fault = templates().value("", &json!({"a/b": ["ok", "one\n{{ nowhere.at_all }}"]})).expect_err("undefined");
    assert_eq!(fault.reaction, Reaction::GiveUp);
    assert_eq!(fault.details[0].pointer, "/a~1b/1");
    assert_eq!(fault.details[0].message, "line 2: at `nowhere.at_all`");
    let deeper = templates().text("", "{{ variables.map.none.at_all }}").expect_err("undefined");
    assert_eq!(deeper.details[0].message, "line 1: at `variables.map.none.at_all`");
    let missing = templates().text("/x", "{{ getip('nobody') }}").expect_err("no such node");
    assert!(missing.message.contains("`nobody`"), "{missing}");
    assert_eq!(templates().text("", "{{ cmd('ls') }}").expect_err("not allowed").reaction, Reaction::Denied);
}

#[test]
fn marks_for_other_programs_are_told_with_the_way_out() {
    for (source, line, what) in [
        ("#!/bin/bash\na=(1 2)\necho ${#a[@]}\necho done\n\n", "line 3: in `echo ${#a[@]}`", "`{#` begins a comment"),
        ("x\ndocker ps --format '{{.Names}}'\ny\n", "line 2: in `docker ps --format '{{.Names}}'`", "unexpected"),
        ("{# fine #}\n{% nonsense %}\n", "line 2: in `{% nonsense %}`", "unknown"),
        ("{{ a b }}", "line 1: in `{{ a b }}`", "unexpected"),
        ("a\necho {{ b\nc\nd\n", "line 2: in `echo {{ b`", "`{{` has no `}}`"),
        ("a\n{% if b %}\n{{ c }}\nd\n", "line 2: in `{% if b %}`", "`{% if b %}` has no `{% endif %}`"),
    ] {
        let fault = templates().text("/x", source).expect_err(source);
        assert!(fault.message.contains(what), "{fault}");
        assert_eq!((fault.details[0].pointer.as_str(), fault.details[0].message.as_str()), ("/x", line));
        assert!(fault.details[1].message.contains("{% raw %}"), "{fault:?}");
    }
    let fault = templates().text("", "{{ nowhere.x }}").expect_err("undefined");
    assert_eq!(fault.details.len(), 1, "the syntax is right");
}

#[test]
fn templates_end() {
    for endless in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 999999999 }}",
        "{{ 'x' | center(999999999) }}",
        "{{ 'x'.zfill(999999999) }}",
        "{{ 'x' | indent(999999999, true) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ [1] | tojson(indent=999999999) }}",
        "{% set l = [1] %}{{ l.append(l) }}{{ l }}",
        "{% set l = [1] %}{% set d = {'l': l} %}{{ l.append([d]) }}{{ l | tojson }}",
        "{% set l = [0] %}{% for a in range(99999) %}{% set x = l.extend(l) %}{% endfor %}",
    ] {
        assert!(templates().text("", endless).is_err(), "{endless}");
    }
}

#[test]
fn inserted_lines_fold() {
    let keys = Templates::new(&json!({"single": "l1\nl2", "spaced": "l1\n\nl2 \n\n\n l3\n"})).folding();
    assert_eq!(keys.text("", "{{ single }}\nkept\n\nkept").expect("it renders"), "l1 l2\nkept\n\nkept");
    assert_eq!(keys.text("", "<{{ spaced }}>").expect("it renders"), "<l1\nl2\n\nl3 >");
}

#[test]
fn parts_of_a_text_keep_their_last_newline() {
    for end in ["\n", "\r", "\r\n", "\n\n", "\n\r", "\r\r"] {
        let rendered = templates().keeping_newlines().text("", &format!("{{{{ name }}}}{end}"));
        assert_eq!(rendered.expect("it renders"), format!("x{end}"));
    }
}

/// Pieces of which templates are made, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "-%}",
        "{%-",
        "raw",
        "endraw",
        "for x in ",
        "for x, y in ",
        "for x['a'] in ",
        "set x['a'] = ",
        "set x.a = ",
        "set (x, y) = ",
        "with x['a'] = 1",
        "endwith",
        "endfor",
        "if ",
        "elif ",
        "else",
        "endif",
        "set x = ",
        "macro m(a) ",
        "endmacro",
        "m(1)",
        "block b",
        "endblock",
        "include 'x'",
        "import 'x' as y",
        "extends 'x'",
        "filter upper",
        "endfilter",
        "variables",
        ".list",
        ".map",
        ".none",
        "['a']",
        "[0]",
        "[1:]",
        "[::-1]",
        "(",
        ")",
        ", ",
        "getip",
        "('master')",
        "getipall",
        "cut",
        "('abc', 1, -1)",
        "cmd",
        "('ls')",
        "find_node_id",
        "range(3)",
        "range(99999)",
        "loop.index",
        " * 99999",
        " ** 99",
        " // 0",
        " % 0",
        " ~ ",
        "|upper",
        "|b64encode",
        "|join(',')",
        "|list",
        "|length",
        "|tojson",
        "|batch(9999)",
        "|indent(99)",
        "|center(999)",
        "|wordwrap(3)",
        "|truncate(5)",
        "|int",
        "'%s-%5d'",
        " % ",
        " % ('a', 1)",
        "{'a': [1]}",
        "[[]]",
        ".append(x)",
        ".append(1)",
        ".update(a=x)",
        ".pop()",
        ".zfill(9)",
        "cycler(1, 2)",
        ".next()",
        ".items()",
        ".get('a')",
        ".format(1)",
        "'text'",
        "\"",
        "'",
        "1",
        "1.5e300",
        "-",
        "not ",
        "is defined",
        "in ",
        "none",
        "true",
        "\n",
        " ",
        "\u{0}",
        "é",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Renders or fails, and the result is bounded.
    #[test]
    fn any_template_comes_to_an_end(source in pieces()) {
        if let Ok(text) = templates().text("", &source) {
            prop_assert!(text.len() < 64 << 20);
        }
    }

    #[test]
    fn any_text_comes_to_an_end(source in "\\PC{0,100}") {
        let _ = templates().text("", &source);
    }
}
