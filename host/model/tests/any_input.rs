//! Tests that any content of a file is read or refused: without a panic, and in time.

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use common::{Files, WEB};
use proptest::prelude::*;

/// Reads a text as each kind of file, and renders the diagnostics.
fn read(content: &[u8]) {
    let files = Files::new();
    for result in [files.compile(content, WEB), files.compile("infra_name: a\nnodes: []\n", content)] {
        match result {
            Ok(compiled) => drop(files.render(&compiled.warnings)),
            Err(diagnostics) => {
                assert!(diagnostics.has_errors());
                drop(files.render(&diagnostics));
                diagnostics.iter().for_each(|diagnostic| drop(diagnostic.to_file_diagnostic()));
            }
        }
    }
    match files.credentials(content) {
        Ok((_, diagnostics)) | Err(diagnostics) => drop(files.render(&diagnostics)),
    }
}

/// Generates pieces of descriptions in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "infra_name",
        "nodes",
        "dependencies",
        "variables",
        "name",
        "type",
        "scaling",
        "filter",
        "node_def:web",
        "resource",
        "health_check",
        "auth_data",
        "connection",
        "mappings",
        "web",
        "local",
        ": ",
        ":",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&A ",
        "*A",
        "<<: ",
        "<<: *A\n",
        "!yaml_import ",
        "!text_import ",
        "!env ",
        "!ini ",
        "!!str ",
        "!!int ",
        "!",
        "url: file://infra.yaml",
        "'",
        "\"",
        "|\n  ",
        ">-\n ",
        "---\n",
        "...\n",
        "%TAG ! x\n",
        "#",
        "~",
        "true",
        "5",
        "{{ getip('one') }}",
        "{{getip(variables.",
        "\t",
        "\r\n",
        "\u{feff}",
        "é",
        "🦀",
        "? ",
        "\\",
        "\0",
        "@",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Generates correct files with one piece exchanged.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    const WHOLE: &str = "infra_name: a\nuser_id: u\nvariables: &V {x: {y: [1, 2]}, z: ~}\nnodes:\n- &A\n  name: one\n  type: web\n  \
        variables: {<<: *V, z: 5}\n- &B {name: two, type: web, scaling: {min: 1, max: 5}, filter: {type: local}}\ndependencies:\n\
        - connection: [*A, *B]\n  mappings: [[a, b], {attributes: [c, d], synch: true}]\n'node_def:web':\n- resource: {type: local, \
        limits: {memory: 5}, port: {from: 1, to: 2}}\n  health_check: {ports: [1], timeout: 5}\nresource:\n- type: cloud\n  \
        auth_data: {accesskey: a, secretkey: S}\n";
    (0..WHOLE.len(), 0..12_usize, prop::collection::vec(any::<u8>(), 0..6)).prop_map(|(at, length, bytes)| {
        let mut whole = WHOLE.as_bytes().to_vec();
        whole.splice(at..(at + length).min(WHOLE.len()), bytes);
        whole
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(content in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&content);
    }

    #[test]
    fn any_text(content in "\\PC{0,200}") {
        read(content.as_bytes());
    }

    #[test]
    fn text_that_looks_like_yaml(content in pieces()) {
        read(content.as_bytes());
    }

    #[test]
    fn files_with_a_slip(content in mutated()) {
        read(&content);
    }
}

/// Reads a text as each kind of file, within a minute.
fn read_soon(what: &str, content: &str) {
    let began = Instant::now();
    read(content.as_bytes());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{what}: {took:?}");
}

#[test]
fn depth() {
    for (what, piece) in
        [("lists", "["), ("mappings", "{a: "), ("dashes", "- "), ("questions", "? "), ("anchors", "&a [")]
    {
        read_soon(what, &piece.repeat(50_000));
    }
    let mut stairs = String::new();
    for level in 0..2_000 {
        writeln!(stairs, "{}a:", " ".repeat(level)).expect("text");
    }
    read_soon("stairs", &stairs);
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..5_000 {
        writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1).expect("text");
    }
    read_soon("a chain of aliases", &chain);
}

#[test]
fn width() {
    let mut keys = String::new();
    for key in 0..100_000 {
        writeln!(keys, "k{key}: {key}").expect("text");
    }
    read_soon("keys", &keys);
    read_soon("merged keys", &format!("a: &A\n{}b: {{<<: *A}}\n", keys.replace('k', "  k")));
    read_soon("nodes", &format!("infra_name: a\nnodes:\n{}", "- {name: a, type: b}\n".repeat(20_000)));
    read_soon("a long line", &format!("infra_name: '{}'\n", "x".repeat(1 << 20)));
    read_soon("tags", &format!("nodes: [{}]\n", "!x y, ".repeat(20_000)));
    read_soon("unclosed", &format!("'{}", "a\n".repeat(200_000)));
}

#[test]
fn aliases_multiply() {
    let mut merges = "a0: &a0 {x: 1, y: 2}\n".to_owned();
    for level in 1..40 {
        let below = format!("*a{}", level - 1);
        writeln!(merges, "a{level}: &a{level} {{p: {below}, q: {below}, r: {below}}}").expect("text");
    }
    read_soon("mappings of aliases", &merges);
    let files = Files::new();
    let diagnostics = files.compile(&merges, WEB).expect_err("too many");
    assert!(files.render(&diagnostics).contains("alias"));
}

#[test]
fn files_that_are_too_large() {
    let files = Files::new();
    let diagnostics = files.compile("#".repeat(50 << 20), WEB).expect_err("too large");
    assert!(files.render(&diagnostics).contains("too large"));
}
