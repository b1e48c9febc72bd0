//! Snapshots of the diagnostics of broken files. Each case is read on its own; a snapshot has all cases of a test.

mod common;

use common::{Files, WEB};

/// Concatenates the texts of all cases.
fn all<'a>(cases: impl IntoIterator<Item = &'a str>, render: impl Fn(&Files, &str) -> String) -> String {
    let mut text = String::new();
    for case in cases {
        let files = Files::new();
        let shown = if case.len() > 400 { format!("{}...", &case[..60]) } else { case.to_owned() };
        text += &format!("##### {}\n{}\n\n", shown.trim_end().replace('\n', "\n#     "), render(&files, case));
    }
    text
}

fn of_description(files: &Files, description: &str) -> String {
    let diagnostics = match files.compile(description, WEB) {
        Ok(compiled) => compiled.warnings,
        Err(diagnostics) => diagnostics,
    };
    assert!(!diagnostics.is_empty(), "no diagnostics of {description}");
    files.render(&diagnostics)
}

fn of_definitions(files: &Files, definitions: &str) -> String {
    let description = "infra_name: a\nuser_id: u\nnodes: [{name: n, type: web}]\n";
    let diagnostics = files.compile(description, definitions).expect_err(definitions);
    files.render(&diagnostics)
}

fn of_credentials(files: &Files, content: &str) -> String {
    let diagnostics = match files.credentials(content) {
        Ok((_, warnings)) => warnings,
        Err(diagnostics) => diagnostics,
    };
    assert!(!diagnostics.is_empty(), "no diagnostics of {content}");
    let text = files.render(&diagnostics);
    assert!(!text.contains("hush"), "{text}");
    let all: Vec<_> = diagnostics.iter().map(|diagnostic| format!("{:?}", diagnostic.to_file_diagnostic())).collect();
    assert!(!all.join("").contains("hush"), "{all:?}");
    text
}

#[test]
fn yaml() {
    let deep = "[".repeat(100_000);
    let bomb = format!(
        "infra_name: a\nvariables:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}",
        (1..12)
            .map(|level| {
                let below = vec![format!("*a{}", level - 1); 10].join(", ");
                format!("  a{level}: &a{level} [{below}]\n")
            })
            .collect::<String>()
    );
    let cases = [
        "",
        "# only a comment\n",
        "infra_name: [unclosed\nnodes: }\n",
        "infra_name: a\n\tnodes: []\n",
        "infra_name: 'a\n",
        "infra_name: a\ninfra_name: b\nuser_id: u\nnodes: []\n",
        "infra_name: a\nuser_id: u\nnodes: []\n---\ninfra_name: b\n",
        "infra_name: a\nuser_id: u\nnodes: *none\n",
        "infra_name: a\nuser_id: u\nnodes: &all [*all]\n",
        "infra_name: a\nuser_id: u\nnodes: []\nvariables: !!python/object/apply:os.system ['true']\n",
        "infra_name: a\nuser_id: u\nnodes: []\nvariables: {a: !colour red}\n",
        "infra_name: a\nuser_id: u\nnodes: []\nvariables: {a: !env HOME}\n",
        "infra_name: a\nuser_id: u\nnodes: []\nvariables: {<<: text}\n",
        "infra_name: a\nuser_id: u\nnodes: []\nvariables: {[a]: b}\n",
        "infra_name: a\nuser_id: u\nnodes: !yaml_import {url: file://none.yaml}\n",
        "infra_name: a\nuser_id: u\nnodes: !yaml_import {url: 'http://example.org/nodes.yaml'}\n",
        "infra_name: a\nuser_id: u\nnodes: !yaml_import none.yaml\n",
        "infra_name: a\nuser_id: u\nnodes: !text_import {}\n",
        "infra_name: a\nuser_id: u\nnodes: !yaml_import {url: file://infra.yaml}\n",
        deep.as_str(),
        bomb.as_str(),
    ];
    insta::assert_snapshot!(all(cases, of_description));
}

#[test]
fn descriptions() {
    let head = "infra_name: a\nuser_id: u\n";
    let two = "nodes:\n- &A {name: one, type: web}\n- &B {name: two, type: web}\n";
    let owned = [
        "just text\n".to_owned(),
        "[a, b]\n".to_owned(),
        "infra_nam: a\nuser_id: u\nnodes:\n- {name: one, typ: web}\n- {name: 5, type: web, sclaing: {}}\n".to_owned(),
        "infra_name: a\nnodes: []\n".to_owned(),
        "infra_name: a.b\nuser_id: u\nnodes: []\n".to_owned(),
        "infra_name: a_b\nuser_id: u\nnodes: []\n".to_owned(),
        format!("infra_name: {}\nuser_id: u\nnodes: []\n", "a".repeat(64)),
        format!("{head}nodes:\n"),
        format!("{head}nodes: {{name: one}}\n"),
        format!("{head}nodes: [one]\n"),
        format!("{head}nodes: [{{name: one, type: wbe}}, {{name: two, type: other}}]\n"),
        format!("{head}nodes:\n- {{name: one, type: web}}\n- {{name: two, type: web}}\n- {{name: one, type: web}}\n"),
        format!("{head}nodes: [{{name: one, type: web, scaling: {{min: many, max: -1, mux: 2}}}}]\n"),
        format!("{head}nodes: [{{name: one, type: web, scaling: {{min: 5, max: 2}}}}]\n"),
        format!("{head}nodes: [{{name: one, type: web, scaling: 3}}]\n"),
        format!("{head}nodes: [{{name: one, type: web, filter: null}}]\n"),
        format!("{head}nodes: [{{name: one, type: web, filter: {{type: cloud}}}}]\n"),
        format!("{head}nodes: [{{name: one, type: web, variables: [a]}}]\n"),
        format!("{head}variables: text\nnodes: []\n"),
        format!("{head}{two}dependencies: {{a: b}}\n"),
        format!("{head}{two}dependencies:\n- [one, tow]\n- [*A, three]\n"),
        format!("{head}{two}dependencies:\n- [one]\n- one\n- 5\n- [1, two]\n"),
        format!("{head}{two}dependencies:\n- conection: [*A, *B]\n- {{}}\n"),
        format!("{head}{two}dependencies:\n- connection: [*A, *B]\n  mapping: []\n"),
        format!("{head}{two}dependencies:\n- [one, one]\n"),
        format!(
            "{head}{two}- &C {{name: three, type: web}}\ndependencies:\n- [*A, *B]\n- [*B, *C]\n- connection: [*C, *A]\n"
        ),
        format!("{head}{two}dependencies:\n- [one, {{name: two, type: other}}]\n"),
        format!(
            "{head}{two}dependencies:\n- connection: [*A, *B]\n  mappings: [[a], {{attributes: [a, b], synch: no}}, {{}}]\n"
        ),
    ];
    insta::assert_snapshot!(all(owned.iter().map(String::as_str), of_description));
}

#[test]
fn maintenance_and_webhooks() {
    let head = "infra_name: a\nuser_id: u\nnodes: [{name: one, type: web}]\n";
    let owned = [
        format!("{head}maintenance: 40\n"),
        format!("{head}maintenance: {{hold_above: 40}}\n"),
        format!("{head}maintenance: {{hold_above_percent: 40%, replace_at_once_percent: 101}}\n"),
        format!("{head}webhooks: https://a.example\n"),
        format!("{head}webhooks: [https://a.example, {{events: []}}]\n"),
        format!("{head}webhooks: [{{name: 5}}, {{}}]\n"),
        format!("{head}webhooks: [{{url: ftp://a.example}}, {{url: \"http://\"}}, {{url: 5}}]\n"),
        format!("{head}webhooks: [{{url: \"https://me:hush@a.example/hook\"}}]\n"),
        format!("{head}webhooks: [{{url: \"https://a.example\", events: [nodecreate, 5], secret: hush}}]\n"),
    ];
    insta::assert_snapshot!(all(owned.iter().map(String::as_str), of_description));
}

#[test]
fn definitions() {
    let section = |section: &str| format!("'node_def:web':\n- resource: {section}\n");
    let health = |check: &str| format!("'node_def:web':\n- resource: {{type: local}}\n  health_check: {check}\n");
    let owned = [
        "text\n".to_owned(),
        "web:\n- resource: {type: local}\n".to_owned(),
        "'node_def:web':\n  resource: {type: local}\n".to_owned(),
        "'node_def:web': []\n".to_owned(),
        "'node_def:web': [text]\n".to_owned(),
        "'node_def:web':\n- contextualisation: {type: basic, attributes: {}}\n".to_owned(),
        "'node_def:web':\n- resource: {type: local}\n  contextualization: {type: basic}\n  create_timeout: 5\n"
            .to_owned(),
        "'node_def:web':\n- resource: {type: local}\n  contextualisation: {type: basic, atributes: {}}\n".to_owned(),
        "'node_def:web':\n- resource: {type: local}\n  config_management: {type: chef}\n".to_owned(),
        "'node_def:web':\n- resource: {type: local}\n'node_def:other':\n- resource: {type: nothing}\n".to_owned(),
        section("local"),
        section("{stop_grace: 5}"),
        section("{type: 5}"),
        section("{type: lokal}"),
        section("{type: local, stop_grace: soon, colour: red, dirctory: /tmp}"),
        section("{type: local, stop_grace: 0, directory: tmp}"),
        section("{type: local, mode: forground}"),
        section("{type: local, limits: {memroy: 5, cores: two}}"),
        section("{type: local, port: text}"),
        section("{type: local, port: {from: 1, too: 2}}"),
        section("{type: cloud}"),
        section("{type: cloud, endpoint: [a], image: '{{variables.image}}', imag: b}"),
        health("yes"),
        health("{ping: no}"),
        health("{ping: 1, pings: true, timeout: soon}"),
        health("{ports: [22, http, 70000], protocol: x}"),
        health("{ports: 22, urls: {}}"),
        health("{urls: ['http://{{ip}}', 'ftp://example.org', 'http:///', 'ftp{# a comment #}']}"),
        health("{type: fancy}"),
        health(""),
    ];
    insta::assert_snapshot!(all(owned.iter().map(String::as_str), of_definitions));
}

#[test]
fn credentials() {
    let cloud = |data: &str| format!("resource:\n- type: cloud\n  auth_data: {data}\n");
    let owned = [
        "text\n".to_owned(),
        "resources: []\n".to_owned(),
        "resource: {type: cloud}\n".to_owned(),
        "resource: [hush]\n".to_owned(),
        "resource:\n- type: cloud\n  accesskey: hush\n".to_owned(),
        "resource:\n- type: clowd\n  auth_data: {a: hush}\n".to_owned(),
        cloud("hush"),
        cloud("{accesskey: hush}"),
        cloud("{accesskey: hush, secretkey: hush, secret: hush}"),
        cloud("{accesskey: 5, secretkey: [hush]}"),
        cloud("{accesskey: a, secretkey: Shush, accesskey: hush}"),
        cloud("{accesskey: a, secretkey: !env OCCOPUS_TEST_NOT_SET}"),
        cloud("{accesskey: a, secretkey: !ini none.ini default key}"),
        cloud("{accesskey: a, secretkey: !ini none.ini default}"),
        cloud("{accesskey: a, secretkey: !text_import {url: file://none.pem}}"),
        cloud("{accesskey: hush, secretkey: 'hush\n"),
    ];
    insta::assert_snapshot!(all(owned.iter().map(String::as_str), of_credentials));
}
