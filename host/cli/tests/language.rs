//! Templates and what is made of descriptions, as users see them on the command line.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const DESCRIPTION: &str = "\
infra_name: language
user_id: me
variables: {list: [a, \"it's\"], map: {yes: yes, on: true, none: ~}, number: 5}
nodes:
- {name: server, type: server, scaling: {min: 2, max: 4}}
- {name: client, type: client, variables: {target: server}}
dependencies:
- [client, server]
";

const SERVER: &str = "'node_def:server':\n- resource: {type: local}\n  health_check: {ping: false}\n  \
                      contextualisation: {type: basic, attributes: {command: [sleep, '1']}}\n";
/// What a process on this machine is contextualised with.
const COMMAND: &str = "type: basic\nattributes: {command: [sleep, '1']}";

/// Files in a directory of their own, and a home.
struct TestHome(TempDir);

impl TestHome {
    /// With this section as the contextualisation of `client`.
    fn with(contextualisation: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        place.write("infra.yaml", DESCRIPTION);
        let indented = contextualisation.replace('\n', "\n    ");
        let client = format!(
            "'node_def:client':\n- resource: {{type: local}}\n  contextualisation:\n    {}\n  health_check: {{ping: false}}\n",
            indented.trim_end()
        );
        place.write("nodes/node_definitions.yaml", &(SERVER.to_owned() + &client));
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("language-cache");
        std::fs::create_dir_all(&cache).expect("a directory");
        std::fs::create_dir_all(place.0.path().join("home")).expect("a directory");
        std::os::unix::fs::symlink(cache, place.0.path().join("home/cache")).expect("a link");
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_occopus"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("OCCOPUS_HOME", self.0.path().join("home"))
            .env("NO_COLOR", "1")
            .output()
            .expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    }

    fn rendered(&self) -> Value {
        serde_json::from_str::<Value>(&self.ok(&["render", "infra.yaml", "client", "--output", "json"])).expect("JSON")
            [0]
        .take()
    }
}

/// A cloud-init text of one line.
fn text(line: &str) -> TestHome {
    TestHome::with(&format!("type: cloudinit\ncontext_template: |\n  {line}\n"))
}

#[track_caller]
fn renders(line: &str, expected: &str) {
    assert_eq!(text(line).rendered()["user_data"], expected, "{line}");
}

#[test]
fn values_print_as_they_always_did() {
    renders("{{ variables.list }}|{{ variables.map }}", r#"['a', "it's"]|{'yes': 'yes', 'on': True, 'none': None}"#);
    renders("{{ nowhere }}|{{ variables.number + 1 }}|{{ variables.map.on }}|{{ variables.map.none }}", "|6|True|None");
    renders("{{ variables.map.items() | list }}", "[('yes', 'yes'), ('on', True), ('none', None)]");
    renders("{{ cut(infra_name, 0, 4) }}{{ cut('abc', -1, 99) }}|{{ 'x' | b64encode }}", "langc|eA==");
    renders(
        "{% for x in variables.list %}{{ loop.index }}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
        "1a,2it's",
    );
    renders("{% raw %}{{ range service }}{% endraw %}{{ '{{' }}", "{{ range service }}{{");
}

#[test]
fn addresses_that_are_not_known_yet_have_stand_ins() {
    renders("{{ getip('server') }} {{ getip(variables.target) }}", "192.0.2.1 192.0.2.1");
    renders("{{ getprivip('server') }} {{ getipall('server') }}", "198.51.100.1 ['192.0.2.1', '192.0.2.2']");
    renders("{{ getip(server) }}", "192.0.2.1");
    renders("{{ find_node_id('server').name }}", "server");
}

#[test]
fn what_a_node_gets_is_shown() {
    let place = TestHome::with(
        "type: cloudinit\ncontext_template:\n  runcmd: [\"ping {{ getip('server') }}\"]\n  package_upgrade: yes\nattributes: {a: '{{ name }}'}",
    );
    insta::assert_snapshot!("render", place.ok(&["render", "infra.yaml", "client"]));
    let (code, _, stderr) = place.run(&["render", "infra.yaml", "clinet"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there are server, client"), "{stderr}");
}

#[test]
fn mistakes_in_templates_are_shown_at_the_users_line() {
    let mut told = String::new();
    for section in [
        "type: cloudinit\ncontext_template: |\n  #cloud-config\n  runcmd:\n  - {{ nowhere.at_all }}",
        "type: cloudinit\ncontext_template: |\n  one\n  {% if %}",
        "type: cloudinit\ncontext_template: |\n  {% for x in variables.list %}\n  unclosed",
        "type: cloudinit\ncontext_template: |\n  {{ unclosed",
        "type: cloudinit\ncontext_template: '{{ 1 / 0 }}'",
        "type: cloudinit\ncontext_template: '{{ \"text\" + 1 }}'",
        "type: cloudinit\ncontext_template: '{{ no_such_function() }}'",
        "type: cloudinit\ncontext_template: '{{ 1 | no_such_filter }}'",
        "type: cloudinit\ncontext_template: '{{ variables.list.no_such_method() }}'",
        "type: cloudinit\ncontext_template: \"{{ getip('nobody') }}\"",
        "type: cloudinit\ncontext_template: \"{{ getip('client') }}\"",
        "type: cloudinit\ncontext_template: '{{ getip(5) }}'",
        "type: cloudinit\ncontext_template: '{{ getip() }}'",
        "type: cloudinit\ncontext_template: '{{ cut(1) }}'",
        "type: cloudinit\ncontext_template: '{% include \"/etc/passwd\" %}'",
        "type: cloudinit\ncontext_template: '{{ cmd(\"date\") }}'",
        "type: cloudinit\ncontext_template: '{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}'",
        "type: cloudinit\ncontext_template: |\n  #cloud-config\n  runcmd:\n  - a: b: c",
        "type: cloudinit\ncontext_template:\n  runcmd: [fine, '{{ nowhere.at_all }}']",
        "type: basic\nattributes: {command: [run, {deep: '{{ nowhere.at_all }}'}]}",
        "type: docker\nenv: ['A={{ nowhere.at_all }}']",
        "type: docker\nenv: []\ncontext_variables: '{{ nowhere.at_all }}'",
        "type: docker\nenv: []\ncontext_variables: '['",
    ] {
        let (code, _, stderr) = TestHome::with(section).run(&["validate", "infra.yaml"]);
        assert_eq!(code, Some(3), "{section}: {stderr}");
        told += &format!("##### {}\n{stderr}\n", section.replace('\n', "\n#     "));
    }
    insta::assert_snapshot!("templates", told.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}

#[test]
fn mistakes_in_templates_of_health_checks() {
    let place = text("x");
    let definitions = SERVER.replace(
        "health_check: {ping: false}",
        "health_check:\n    ping: false\n    urls: ['http://{{ ip }}/', 'http://{{ ip.nothing.at_all }}/']",
    );
    place.write("nodes/node_definitions.yaml", &(definitions + &SERVER.replace("server", "client")));
    let (code, _, stderr) = place.run(&["validate", "infra.yaml"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("node_definitions.yaml:5:32") && stderr.contains("`ip.nothing.at_all`"), "{stderr}");
}

#[test]
fn mistakes_in_templates_for_programs() {
    let place = text("#cloud-config\n  runcmd:\n  - {{ nowhere.at_all }}");
    let (code, stdout, _) = place.run(&["validate", "infra.yaml", "--output", "json"]);
    assert_eq!(code, Some(3));
    let problem = serde_json::from_str::<Value>(&stdout).expect("JSON")["error"]["problems"][0].take();
    assert_eq!(
        problem["message"],
        "node client: a part of something that is not defined is asked for: at `nowhere.at_all`"
    );
    assert_eq!((&problem["line"], &problem["column"]), (&Value::from(12), &Value::from(7)), "{problem}");
}

#[test]
fn commands_run_where_they_are_allowed_only() {
    let place = text("{{ cmd('echo hello') }}");
    let (code, _, stderr) = place.run(&["validate", "infra.yaml"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("allow_commands: true"), "{stderr}");
    place.write("home/occopus_config.yaml", "allow_commands: true\n");
    assert_eq!(place.rendered()["user_data"], "output-of-a-command", "a preview runs nothing");
}

#[test]
fn graphs() {
    let place = text("x");
    for form in ["text", "dot", "mermaid"] {
        insta::assert_snapshot!(format!("graph_{form}"), place.ok(&["graph", "infra.yaml", "--format", form]));
    }
    let svg = place.ok(&["graph", "infra.yaml", "--format", "svg"]);
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(svg.contains("server (2 to 4)") && svg.contains("client"), "{svg}");
}

#[test]
fn schemas_take_what_is_valid_and_nothing_else() {
    let place = text("x");
    let read = |text: &str| serde_yaml_ng::from_str::<Value>(text).expect("YAML");
    let schema = |of: &str| {
        let schema: Value = serde_json::from_str(&place.ok(&["schema", of])).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    };
    let (description, definitions) = (schema("description"), schema("definitions"));
    assert!(description.is_valid(&read(DESCRIPTION)));
    assert!(!description.is_valid(&read(&DESCRIPTION.replace("scaling", "sclaing"))));
    assert!(definitions.is_valid(&read(SERVER)));
    assert!(!definitions.is_valid(&read(&SERVER.replace("local", "lokal"))));
    assert!(!definitions.is_valid(&read(&SERVER.replace("type: local", "type: local, imgae: x"))));
    assert!(!definitions.is_valid(&read(&SERVER.replace("ping", "pong"))));
    // What no plugin serves yet is known all the same.
    let planned = "{type: cloudsigma, endpoint: e, libdrive_id: l, description: {cpu: 1, mem: 2, vnc_password: p}}";
    assert!(definitions.is_valid(&read(&SERVER.replace("{type: local}", planned))));
}

#[test]
fn definitions_are_kept_shown_and_removed() {
    let place = TestHome::with(COMMAND);
    place.ok(&["import", "nodes/node_definitions.yaml"]);
    let list = place.ok(&["definitions", "list"]);
    assert!(list.contains("client  nodes/node_definitions.yaml:6:3") && list.contains("server"), "{list}");
    let shown = place.ok(&["definitions", "show", "server"]);
    place.write("again.yaml", &shown);
    assert!(place.ok(&["import", "again.yaml"]).contains("server"), "what is shown can be imported: {shown}");
    // Without definitions beside it, the kept ones serve.
    std::fs::remove_dir_all(place.0.path().join("nodes")).expect("removed");
    place.ok(&["validate", "infra.yaml"]);
    place.ok(&["definitions", "remove", "server"]);
    let (code, _, stderr) = place.run(&["validate", "infra.yaml"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("`server` is not defined"), "{stderr}");
    assert_eq!(place.run(&["definitions", "show", "server"]).0, Some(1));
}

#[test]
fn warnings_are_errors_when_asked() {
    let place = TestHome::with(COMMAND);
    place.ok(&["validate", "--strict", "infra.yaml"]);
    let planned = "{type: cloudsigma, endpoint: e, libdrive_id: l, description: {cpu: 1, mem: 2, vnc_password: p}}";
    let planned = SERVER.replace("{type: local}", planned);
    place.write("nodes/node_definitions.yaml", &(planned + &SERVER.replace("server", "client")));
    place.ok(&["validate", "infra.yaml"]);
    assert_eq!(place.run(&["validate", "--strict", "infra.yaml"]).0, Some(3));
    let (code, _, stderr) = place.run(&["build", "infra.yaml"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("cloudsigma") && stderr.contains("node_definitions.yaml:2:"), "{stderr}");
}
