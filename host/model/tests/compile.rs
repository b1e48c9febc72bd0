//! Tests of the compilation of correct files.

mod common;

use std::path::Path;

use common::{Files, Plugins, WEB};
use occopus_model::{CompileInput, Compiled, FileDiagnostic, SectionKind, compile, read_definitions};
use serde_json::json;

#[track_caller]
fn compiled(files: &Files, description: &str, definitions: &str) -> Compiled {
    files.compile(description, definitions).unwrap_or_else(|diagnostics| panic!("{}", files.render(&diagnostics)))
}

const TWO: &str =
    "infra_name: a\nuser_id: 1\nnodes:\n- &ONE\n  name: one\n  type: web\n- &TWO {name: two, type: web}\n";

fn needs(compiled: &Compiled) -> Vec<(&str, Vec<&str>)> {
    let nodes = compiled.infrastructure.nodes.iter();
    nodes.map(|node| (node.name.as_str(), node.depends_on.iter().map(String::as_str).collect())).collect()
}

#[test]
fn yaml_is_read_as_version_1_2() {
    let files = Files::new();
    let variables = "variables: {a: yes, b: 0644, c: 1_000, d: 0x1F, e: ~, f: 1e3, g: 2001-01-01, h: 12:30:45, i: 'true', j: , k: !!str 5, l: !!int '7'}";
    let compiled = compiled(&files, &format!("{TWO}{variables}\n"), WEB);
    let wanted = json!({
        "a": "yes", "b": 644, "c": 1000, "d": 31, "e": null, "f": 1000.0, "g": "2001-01-01", "h": "12:30:45",
        "i": "true", "j": null, "k": "5", "l": 7,
    });
    assert_eq!(compiled.infrastructure.variables, wanted);
}

#[test]
fn merge_keys_and_variables() {
    let files = Files::new();
    let description = "infra_name: a\nuser_id: u\n\
        variables: {deep: {x: 1, y: [1, 2]}, flat: 1}\n\
        nodes:\n\
        - &ONE\n  name: one\n  type: web\n  variables: &V {deep: {y: [3], z: 4}}\n\
        - {<<: *ONE, name: two}\n\
        - {name: three, type: web, variables: {<<: [{flat: 2}, *V]}}\n";
    let compiled = compiled(&files, description, WEB);
    let [one, two, three] = compiled.infrastructure.nodes.as_slice() else { panic!("three nodes") };
    let wanted = json!({"deep": {"x": 1, "y": [3], "z": 4}, "flat": 1});
    assert_eq!((&one.variables, &two.variables), (&wanted, &wanted));
    assert_eq!(two.name, "two");
    assert_eq!(three.variables, json!({"deep": {"x": 1, "y": [3], "z": 4}, "flat": 2}));
}

#[test]
fn dependencies_by_alias_by_name_and_by_copy() {
    for list in
        ["[[*TWO, *ONE]]", "[[two, one]]", "[connection: [{name: two, type: web}, *ONE]]", "[[two, *ONE], [two, one]]"]
    {
        let files = Files::new();
        let compiled = compiled(&files, &format!("{TWO}dependencies: {list}\n"), WEB);
        assert_eq!(needs(&compiled), [("one", vec![]), ("two", vec!["one"])], "{list}");
    }
    for none in ["{}", "[]", ""] {
        let files = Files::new();
        let compiled = compiled(&files, &format!("{TWO}dependencies: {none}\n"), WEB);
        assert_eq!(needs(&compiled), [("one", vec![]), ("two", vec![])], "{none}");
    }
}

#[test]
fn mappings_are_known_at_both_ends() {
    let files = Files::new();
    let list = "- connection: [*TWO, *ONE]\n  mappings:\n  - [fqdn, db.host]\n  - {attributes: [a, b], synch: true, note: 5}\n";
    let compiled = compiled(&files, &format!("{TWO}dependencies:\n{list}"), WEB);
    let [one, two] = compiled.infrastructure.nodes.as_slice() else { panic!("two nodes") };
    assert_eq!(one.mappings.outbound["two"], two.mappings.inbound["one"]);
    let wanted = json!([
        {"attributes": ["fqdn", "db.host"], "synch": false},
        {"attributes": ["a", "b"], "synch": true, "note": 5},
    ]);
    assert_eq!(serde_json::to_value(&two.mappings.inbound["one"]).expect("JSON"), wanted);
    assert!(one.mappings.inbound.is_empty() && two.mappings.outbound.is_empty());
}

#[test]
fn templates_order_nodes_that_nobody_ordered() {
    let asking = |ask: &str| {
        format!("{WEB}'node_def:app':\n- resource: {{type: cloud, endpoint: e, image: i, size: [\"{ask}\"]}}\n")
    };
    let nodes = "infra_name: a\nuser_id: u\nnodes:\n- {name: one, type: app}\n- {name: db, type: web}\n\
                 - {name: two, type: app, variables: {target: {name: db}}}\n";
    for (ask, dependencies, wanted) in [
        ("{{ getip('db') }}", "[]", vec!["db"]),
        ("{{getprivip(  'db',0)}}", "[]", vec!["db"]),
        ("{% set x = getipall('db') %}", "[]", vec!["db"]),
        ("{{getip(variables.target.name)}}", "[]", vec!["db"]),
        ("{{getip('db')}}", "[[db, two]]", vec![]),
        ("{{getip('db')}}", "[[two, one], [one, db]]", vec!["one"]),
        ("{{forgetip('db')}}", "[]", vec![]),
        ("getip('db')", "[]", vec![]),
        ("{{getip(db)}} {{getip('", "[]", vec![]),
    ] {
        let files = Files::new();
        let compiled = compiled(&files, &format!("{nodes}dependencies: {dependencies}\n"), &asking(ask));
        assert_eq!(needs(&compiled)[2].1, wanted, "{ask} {dependencies}");
        assert!(dependencies != "[]" || needs(&compiled)[0].1.is_empty(), "only earlier nodes count: {ask}");
    }
}

#[test]
fn scaling_as_the_existing_tool_computes_it() {
    for (section, min, max) in [
        ("{min: 5, max: 2}", 5, 5),
        ("{max: 5}", 1, 5),
        ("{min: 2}", 2, 2),
        ("{min: 0}", 1, 1),
        ("{}", 1, 1),
        ("{min: 2, max: 10}", 2, 10),
        ("", 1, 1),
    ] {
        let files = Files::new();
        let description = format!("infra_name: a\nuser_id: u\nnodes: [{{name: n, type: web, scaling: {section}}}]\n");
        let scaling = compiled(&files, &description, WEB).infrastructure.nodes[0].scaling;
        assert_eq!((scaling.min, scaling.max), (min, max), "{section}");
    }
}

#[test]
fn health_checks_have_an_order_and_defaults() {
    for (section, checks, timeout) in [
        ("{}", json!({"ping": true}), 600),
        ("{ping: false}", json!({}), 600),
        (
            "{answers: now, urls: ['{{ip}}'], ports: [22], timeout: 5}",
            json!({"ping": true, "ports": [22], "urls": ["{{ip}}"], "answers": "now"}),
            5,
        ),
        ("{type: basic, ping: False, ports: ['{{variables.port}}']}", json!({"ports": ["{{variables.port}}"]}), 600),
    ] {
        let files = Files::new();
        let definitions = format!("{WEB}  health_check: {section}\n");
        let compiled = compiled(&files, TWO, &definitions);
        let health = &compiled.infrastructure.definitions["web"][0].health_check;
        let in_order = |value: &serde_json::Value| value.to_string();
        assert_eq!(in_order(&serde_json::to_value(&health.checks).expect("JSON")), in_order(&checks), "{section}");
        assert_eq!(health.timeout, timeout);
    }
}

#[test]
fn templates_pass_where_other_kinds_are_wanted() {
    let files = Files::new();
    let resource = "{type: local, directory: '{{variables.d}}', stop_grace: '{{5}}', mode: '{% if x %}foreground{% endif %}', \
                    limits: {memory: '{{1}}', cores: '{{2}}'}, port: '{{variables.port}}'}";
    compiled(
        &files,
        TWO,
        &format!(
            "'node_def:web':\n- resource: {resource}\n- resource: {{type: local, port: {{from: '{{{{1}}}}', to: 2}}}}\n"
        ),
    );
}

#[test]
fn imports_are_relative_to_the_file_that_has_them() {
    let files = Files::new();
    files.write("nodes/parts/inner.yaml", "text: !text_import\n  url: file://deep/raw.txt\nlist: [1]\n");
    files.write("nodes/parts/deep/raw.txt", "#cloud-config\n{{ not yaml\n");
    let absolute = files.write("elsewhere.yaml", "x: 1\n");
    let definitions = format!(
        "'node_def:web':\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    attributes: &A !yaml_import\n      \
         url: file://parts/inner.yaml\n- resource: {{type: local}}\n  contextualisation: {{type: basic, attributes: {{<<: *A, more: !yaml_import {{url: 'file://{}'}}}}}}\n",
        absolute.display()
    );
    let compiled = compiled(&files, TWO, &definitions);
    let [one, two] = compiled.infrastructure.definitions["web"].as_slice() else { panic!("two") };
    let context = one.contextualisation.as_ref().expect("a context");
    assert_eq!(context["attributes"], json!({"text": "#cloud-config\n{{ not yaml\n", "list": [1]}));
    let context = two.contextualisation.as_ref().expect("a context");
    assert_eq!(context["attributes"]["list"], json!([1]));
    assert_eq!(context["attributes"]["more"], json!({"x": 1}));
    assert!(one.lines["/contextualisation/attributes/list/0"].ends_with("inner.yaml:3:8"), "{:?}", one.lines);
    assert_eq!(Path::new(&one.definition_dir), files.path("nodes"));
    assert!(one.origin.ends_with("node_definitions.yaml:2:3"), "{}", one.origin);
    assert!(one.lines["/resource/type"].ends_with("node_definitions.yaml:2:20"));
}

#[test]
fn definitions_come_from_files_then_from_store() {
    let files = Files::new();
    let description = files.write("infra.yaml", TWO);
    let stored = read_definitions(&[files.write("old.yaml", WEB)], &Plugins).expect("reads").0;
    let input = CompileInput { description, stored, ..CompileInput::default() };
    assert!(compile(&input, &Plugins).is_ok(), "from the store alone");
    files.write("nodes/node_definitions.yaml", "'node_def:web': [{resource: {type: local, stop_grace: 5}}]\n");
    let compiled = compile(&input, &Plugins).expect("compiles");
    assert_eq!(compiled.infrastructure.definitions["web"][0].resource, json!({"type": "local", "stop_grace": 5}));
}

#[test]
fn a_directory_stands_for_its_files_with_definitions() {
    let files = Files::new();
    files.write("defs/a.yaml", WEB);
    files.write("defs/b.yml", "node_def:db: [{resource: {type: local}}]\n");
    files.write("defs/cloud_init.yaml", "{% not yaml at all: [\n");
    files.write("defs/notes.txt", "node_def:x: 1\n");
    let (types, warnings) = read_definitions(&[files.path("defs")], &Plugins).expect("reads");
    assert_eq!(types.keys().collect::<Vec<_>>(), ["web", "db"]);
    assert!(warnings.is_empty());
    files.write("defs/c.yaml", WEB);
    let diagnostics = read_definitions(&[files.path("defs")], &Plugins).expect_err("twice");
    assert!(files.render(&diagnostics).contains("defined twice"), "{}", files.render(&diagnostics));
    let empty = read_definitions(&[files.path("defs/none")], &Plugins).expect_err("nothing there");
    assert_eq!(empty.len(), 1);
}

#[test]
fn a_filter_chooses_among_implementations() {
    let files = Files::new();
    let definitions =
        "'node_def:web':\n- resource: {type: local}\n- resource: {type: cloud, endpoint: e, image: i, size: {a: 1}}\n";
    let description = "infra_name: a\nuser_id: u\nnodes: [{name: n, type: web, filter: {type: cloud, size: {a: 1}}}, {name: m, type: web}]\n";
    let infrastructure = compiled(&files, description, definitions).infrastructure;
    let candidates =
        |at: usize| infrastructure.candidates(&infrastructure.nodes[at]).map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!((candidates(0), candidates(1)), (vec![1], vec![0, 1]));
}

#[test]
fn certificates_are_for_the_host_and_read_from_files() {
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n";
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
    let files = Files::new();
    files.write("key.pem", KEY);
    files.write("ca.pem", CERTIFICATE);
    let rule = |own: &str| format!("resource:\n- {{type: other, auth_data: {{{own}}}}}\n");
    let (auth, _) = files
        .credentials(rule("ca: ca.pem, client_certificate: ca.pem, client_key: key.pem, token: t"))
        .unwrap_or_else(|diagnostics| panic!("{}", files.render(&diagnostics)));
    let found = auth.select(SectionKind::Resource, &json!({"type": "other"})).expect("one rule").expect("a credential");
    assert_eq!(found.fields.keys().collect::<Vec<_>>(), ["token"]);
    assert_eq!(found.tls.ca.as_deref(), Some(CERTIFICATE));
    assert_eq!(found.tls.client.expect("a client").1.expose(), KEY);
    let folded = KEY.replace('\n', " ");
    for (own, words) in [
        ("client_key: key.pem", "`client_key` needs `client_certificate` beside it"),
        ("ca: missing.pem", "missing.pem can't be read"),
        ("ca: key.pem", "`ca` has no `BEGIN CERTIFICATE-----` in it"),
        (&format!("client_certificate: ca.pem, client_key: \"{folded}\""), "its line breaks are missing"),
    ] {
        let diagnostics = files.credentials(rule(own)).expect_err(own);
        let shown = files.render(&diagnostics);
        assert!(shown.contains(words) && !shown.contains("MIG"), "{shown}");
    }
}

#[test]
fn credentials_are_chosen_by_all_their_selectors() {
    let files = Files::new();
    files.write("key.pem", "-----BEGIN\nkey\n");
    let content = "resource:\n- type: cloud\n  endpoint: e\n  auth_data: {accesskey: A, secretkey: S1}\n\
        - {type: cloud, endpoint: f, auth_data: {accesskey: B, secretkey: S2}}\n\
        - {type: cloud, image: i, auth_data: {accesskey: C, secretkey: !env PATH}}\n\
        config_management:\n- {type: chef, auth_data: {client_key: !text_import {url: file://key.pem}}}\n";
    let content = content.replace("!env PATH", "S3");
    let (auth, _) = files.credentials(content).unwrap_or_else(|diagnostics| panic!("{}", files.render(&diagnostics)));
    let chosen = |section, value| {
        let credential = auth.select(section, &value).expect("one rule")?;
        Some(credential.fields.into_iter().map(|(key, value)| (key, value.expose().to_owned())).collect::<Vec<_>>())
    };
    let pair =
        |a: &str, s: &str| Some(vec![("accesskey".to_owned(), a.to_owned()), ("secretkey".to_owned(), s.to_owned())]);
    assert_eq!(chosen(SectionKind::Resource, json!({"type": "cloud", "endpoint": "e"})), pair("A", "S1"));
    assert_eq!(chosen(SectionKind::Resource, json!({"type": "cloud", "endpoint": "f", "image": "x"})), pair("B", "S2"));
    assert_eq!(chosen(SectionKind::Resource, json!({"type": "cloud"})), None);
    assert_eq!(chosen(SectionKind::Resource, json!({"type": "chef"})), None);
    let key = chosen(SectionKind::ConfigManagement, json!({"type": "chef", "run_list": []})).expect("a key");
    assert_eq!(key[0].1, "-----BEGIN\nkey\n");

    let error = auth
        .select(SectionKind::Resource, &json!({"type": "cloud", "endpoint": "e", "image": "i"}))
        .expect_err("two rules");
    assert_eq!(error.rules.len(), 2);
    assert!(
        error.to_string().contains("auth_data.yaml:2") && error.to_string().contains("auth_data.yaml:6"),
        "{error}"
    );
    let shown = format!("{auth:?}");
    assert!(shown.contains("***") && !shown.contains("S1") && !shown.contains("BEGIN"), "{shown}");
}

#[test]
fn secrets_may_come_from_the_environment() {
    let files = Files::new();
    let (auth, _) = files.credentials("resource: [{auth_data: {token: !env PATH}}]\n").expect("reads");
    let credential = auth.select(SectionKind::Resource, &json!({})).expect("one rule").expect("a credential");
    assert_eq!(credential.fields["token"].expose(), std::env::var("PATH").expect("a path"));
}

#[test]
fn secrets_may_come_from_a_file_of_a_clouds_own_tool() {
    let files = Files::new();
    files.write("credentials", "[default]\naws_access_key_id = A\n[work]\naws_access_key_id = B\n");
    let rule = "resource: [{auth_data: {accesskey: !ini credentials work aws_access_key_id}}]\n";
    let (auth, _) = files.credentials(rule).expect("reads");
    let credential = auth.select(SectionKind::Resource, &json!({})).expect("one rule").expect("a credential");
    assert_eq!(credential.fields["accesskey"].expose(), "B");
}

#[test]
fn a_look_at_credentials_runs_nothing() {
    let files = Files::new();
    let mark = files.path("mark");
    let command = format!("!command {{run: [touch, {}], lifetime: 1h}}", mark.display());
    let path = files.write(
        "auth_data.yaml",
        format!("resource: [{{type: cloud, auth_data: {{accesskey: a, secretkey: {command}}}}}]\n"),
    );
    let looked = occopus_model::AuthData::check(&path, &Plugins);
    assert!(looked.data.is_some(), "{}", looked.diagnostics);
    assert!(!mark.exists());
    let read = occopus_model::AuthData::read(
        &path,
        occopus_model::CommandOutputs::empty_at(std::time::Instant::now()),
        &Plugins,
    );
    assert!(read.data.is_none() && mark.exists(), "it runs, and what it prints is no secret key");
    assert_eq!(read.files, [path]);
}

#[cfg(unix)]
#[test]
fn credentials_that_others_can_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new();
    let path = files.write("auth_data.yaml", "resource: []\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    let (_, warnings) = occopus_model::AuthData::check(&path, &Plugins).into_result().expect("reads");
    assert!(warnings.iter().any(|warning| warning.code() == "credentials.permissions" && !warning.is_error()));
}

#[test]
fn what_examples_leave_to_the_user_keeps_it_from_being_built_and_from_nothing_else() {
    let files = Files::new();
    files.write("user_data.sh", "#!/bin/sh\nx=1\necho REPLACE_WITH_your_name and replace_with_b\n");
    let definitions = "'node_def:web':\n- resource:\n    type: cloud\n    endpoint: replace_with_endpoint_of_ec2\n    image: replace_with_image_or_remove\n  contextualisation:\n    type: cloudinit\n    context_template: !text_import\n      url: file://../user_data.sh\n- resource: {type: cloud, endpoint: nonsense, image: i}\n'node_def:unused':\n- resource: {type: cloud, endpoint: replace_with_x, image: i}\n";
    let nodes = "infra_name: a\nuser_id: u\nvariables: {p: replace_with_password}\nnodes: [{name: n, type: web}]\n";
    let compiled = compiled(&files, nodes, definitions);
    let obstacles: Vec<_> = compiled.obstacles.iter().map(|diagnostic| diagnostic.to_file_diagnostic()).collect();
    let at = |obstacle: &FileDiagnostic| {
        let file = obstacle.file.as_deref().and_then(|file| file.rsplit('/').next()).unwrap_or_default().to_owned();
        (file, obstacle.line.unwrap_or(0), obstacle.code.clone())
    };
    let (placeholder, endpoint) = ("value.placeholder".to_owned(), "value.endpoint".to_owned());
    let wanted = [
        ("infra.yaml".to_owned(), 3, placeholder.clone()),
        ("node_definitions.yaml".to_owned(), 4, placeholder.clone()),
        ("node_definitions.yaml".to_owned(), 5, placeholder.clone()),
        ("user_data.sh".to_owned(), 3, placeholder.clone()),
        ("user_data.sh".to_owned(), 3, placeholder.clone()),
        ("node_definitions.yaml".to_owned(), 10, endpoint),
    ];
    assert_eq!(obstacles.iter().map(at).collect::<Vec<_>>(), wanted, "{obstacles:#?}");
    assert!(obstacles.iter().all(|obstacle| !obstacle.is_warning()));
    assert!(obstacles[2].help.as_deref().is_some_and(|help| help.contains("remove the line")), "{obstacles:?}");
    // Placeholders in an import are only warnings; in an implementation that was imported they are obstacles when it is
    // used.
    let path = files.path("nodes/node_definitions.yaml");
    let (stored, warnings) = read_definitions(std::slice::from_ref(&path), &Plugins).expect("it can be imported");
    assert!(warnings.iter().any(|warning| warning.code() == "value.placeholder" && !warning.is_error()));
    std::fs::remove_file(path).expect("removed");
    let input = CompileInput { description: files.path("infra.yaml"), stored, ..CompileInput::default() };
    let compiled = compile(&input, &Plugins).expect("compiles");
    assert!(compiled.obstacles.iter().any(|diagnostic| diagnostic.to_string().contains("was imported with it")));
}

#[test]
fn a_filter_leaves_examples_aside() {
    let definitions = "'node_def:web':\n- resource: {type: cloud, endpoint: 'http://a', image: mine}\n- resource: {type: cloud, endpoint: replace_with_x, image: i}\n";
    let description = "infra_name: a\nuser_id: u\nnodes: [{name: n, type: web, filter: {image: mine}}]\n";
    assert!(compiled(&Files::new(), description, definitions).obstacles.is_empty());
}

#[test]
fn numbers_that_yaml_1_1_reads_otherwise_are_warned_of() {
    let files = Files::new();
    let definitions = "'node_def:web':\n- resource: {type: local}\n  contextualisation:\n    type: cloudinit\n    context_template:\n      write_files:\n      - {path: /x, permissions: 0644, content: !!binary 'AAEC/w=='}\n";
    let compiled = compiled(&files, "infra_name: a\nuser_id: u\nnodes: [{name: n, type: web}]\n", definitions);
    let [warning] = compiled.warnings.iter().collect::<Vec<_>>()[..] else { panic!("{}", compiled.warnings) };
    let warning = warning.to_file_diagnostic();
    assert_eq!((warning.code.as_str(), warning.line), ("yaml.octal", Some(7)));
    assert!(warning.help.as_deref().is_some_and(|help| help.contains("`'0644'`")), "{warning:?}");
    let implementation = &compiled.infrastructure.definitions["web"][0];
    let file = &implementation.contextualisation.as_ref().expect("a section")["context_template"]["write_files"][0];
    assert_eq!(file["content"], json!({"!!binary": "AAEC/w=="}));
}

#[test]
fn a_number_that_should_be_a_text_is_shown_in_quotes() {
    let files = Files::new();
    let definitions = "'node_def:web':\n- resource: {type: local, directory: 3.10}\n";
    let diagnostics = files.compile("infra_name: a\nuser_id: u\nnodes: [{name: n, type: web}]\n", definitions);
    assert!(files.render(&diagnostics.expect_err("no text")).contains("put it in quotes: `'3.10'`"));
    let secret = files.credentials("resource: [{type: cloud, auth_data: {accesskey: 31, secretkey: S}}]\n");
    let secret = files.render(&secret.expect_err("no text"));
    assert!(secret.contains("put it in quotes") && !secret.contains("31"), "{secret}");
}

#[test]
fn lines_that_are_too_long_are_cut_around_the_place() {
    let files = Files::new();
    let definitions =
        format!("'node_def:web': [{{resource: {{type: local, directory: '/{}', prot: 1}}}}]\n", "x".repeat(16_000));
    let diagnostics = files.compile("infra_name: a\nuser_id: u\nnodes: [{name: n, type: web}]\n", definitions);
    let shown = files.render(&diagnostics.expect_err("an unknown key"));
    assert!(shown.contains("prot: 1") && shown.contains("not known here") && shown.len() < 1000, "{shown}");
}
