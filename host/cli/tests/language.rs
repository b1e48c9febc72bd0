//! Templates, and the results of compiling descriptions, on the command line.

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
/// Contextualisation of a process on this machine.
const COMMAND: &str = "type: basic\nattributes: {command: [sleep, '1']}";

/// A temporary directory with a description, its node definitions, and a home.
struct TestHome(TempDir);

impl TestHome {
    /// Creates the files with this section as the contextualisation of `client`.
    fn with(contextualisation: &str) -> Self {
        let home = Self(tempfile::tempdir().expect("a directory"));
        home.write("infra.yaml", DESCRIPTION);
        let indented = contextualisation.replace('\n', "\n    ");
        let client = format!(
            "'node_def:client':\n- resource: {{type: local}}\n  contextualisation:\n    {}\n  health_check: {{ping: false}}\n",
            indented.trim_end()
        );
        home.write("nodes/node_definitions.yaml", &(SERVER.to_owned() + &client));
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("language-cache");
        std::fs::create_dir_all(&cache).expect("a directory");
        std::fs::create_dir_all(home.0.path().join("home")).expect("a directory");
        std::os::unix::fs::symlink(cache, home.0.path().join("home/cache")).expect("a link");
        home
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

/// Creates the files with a cloud-init text of one line.
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
fn a_rendered_node_is_shown() {
    let home = TestHome::with(
        "type: cloudinit\ncontext_template:\n  runcmd: [\"ping {{ getip('server') }}\"]\n  package_upgrade: yes\nattributes: {a: '{{ name }}'}",
    );
    insta::assert_snapshot!("render", home.ok(&["render", "infra.yaml", "client"]));
    let (code, _, stderr) = home.run(&["render", "infra.yaml", "clinet"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("its nodes are server, client"), "{stderr}");
}

#[test]
fn errors_in_templates_are_shown_at_the_users_line() {
    let mut output = String::new();
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
        output += &format!("##### {}\n{stderr}\n", section.replace('\n', "\n#     "));
    }
    insta::assert_snapshot!("templates", output.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}

#[test]
fn errors_in_templates_of_health_checks() {
    let home = text("x");
    let definitions = SERVER.replace(
        "health_check: {ping: false}",
        "health_check:\n    ping: false\n    urls: ['http://{{ ip }}/', 'http://{{ ip.nothing.at_all }}/']",
    );
    home.write("nodes/node_definitions.yaml", &(definitions + &SERVER.replace("server", "client")));
    let (code, _, stderr) = home.run(&["validate", "infra.yaml"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("node_definitions.yaml:5:32") && stderr.contains("`ip.nothing.at_all`"), "{stderr}");
}

#[test]
fn errors_in_templates_as_json() {
    let home = text("#cloud-config\n  runcmd:\n  - {{ nowhere.at_all }}");
    let (code, stdout, _) = home.run(&["validate", "infra.yaml", "--output", "json"]);
    assert_eq!(code, Some(3));
    let diagnostic = serde_json::from_str::<Value>(&stdout).expect("JSON")["error"]["problems"][0].take();
    assert_eq!(
        diagnostic["message"],
        "node client: an attribute or item of an undefined value is used: at `nowhere.at_all`"
    );
    assert_eq!((&diagnostic["line"], &diagnostic["column"]), (&Value::from(12), &Value::from(7)), "{diagnostic}");
}

#[test]
fn commands_run_where_they_are_allowed_only() {
    let home = text("{{ cmd('echo hello') }}");
    let (code, _, stderr) = home.run(&["validate", "infra.yaml"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("allow_commands: true"), "{stderr}");
    home.write("home/occopus_config.yaml", "allow_commands: true\n");
    assert_eq!(home.rendered()["user_data"], "output-of-a-command", "a preview runs nothing");
}

#[test]
fn graphs() {
    let home = text("x");
    for form in ["text", "dot", "mermaid"] {
        insta::assert_snapshot!(format!("graph_{form}"), home.ok(&["graph", "infra.yaml", "--format", form]));
    }
    let svg = home.ok(&["graph", "infra.yaml", "--format", "svg"]);
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(svg.contains("server (2 to 4)") && svg.contains("client"), "{svg}");
}

#[test]
fn schemas_take_what_is_valid_and_nothing_else() {
    let home = text("x");
    let read = |text: &str| serde_yaml_ng::from_str::<Value>(text).expect("YAML");
    let schema = |of: &str| {
        let schema: Value = serde_json::from_str(&home.ok(&["schema", of])).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    };
    let (description, definitions) = (schema("description"), schema("definitions"));
    assert!(description.is_valid(&read(DESCRIPTION)));
    assert!(!description.is_valid(&read(&DESCRIPTION.replace("scaling", "sclaing"))));
    assert!(definitions.is_valid(&read(SERVER)));
    assert!(!definitions.is_valid(&read(&SERVER.replace("local", "lokal"))));
    assert!(!definitions.is_valid(&read(&SERVER.replace("type: local", "type: local, imgae: x"))));
    assert!(!definitions.is_valid(&read(&SERVER.replace("ping", "pong"))));
    // Sections of planned plugins are known, too.
    let planned = "{type: cloudbroker, endpoint: e, description: {deployment_id: d, instance_type_id: i}}";
    assert!(definitions.is_valid(&read(&SERVER.replace("{type: local}", planned))));
}

#[test]
fn definitions_are_stored_shown_and_removed() {
    let home = TestHome::with(COMMAND);
    home.ok(&["import", "nodes/node_definitions.yaml"]);
    let list = home.ok(&["definitions", "list"]);
    assert!(list.contains("client  nodes/node_definitions.yaml:6:3") && list.contains("server"), "{list}");
    let shown = home.ok(&["definitions", "show", "server"]);
    home.write("again.yaml", &shown);
    assert!(home.ok(&["import", "again.yaml"]).contains("server"), "what is shown can be imported: {shown}");
    // Without definitions beside the description, the stored ones are used.
    std::fs::remove_dir_all(home.0.path().join("nodes")).expect("removed");
    home.ok(&["validate", "infra.yaml"]);
    home.ok(&["definitions", "remove", "server"]);
    let (code, _, stderr) = home.run(&["validate", "infra.yaml"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("`server` is not defined"), "{stderr}");
    assert_eq!(home.run(&["definitions", "show", "server"]).0, Some(1));
}

#[test]
fn warnings_are_errors_with_strict() {
    let home = TestHome::with(COMMAND);
    home.ok(&["validate", "--strict", "infra.yaml"]);
    let planned = "{type: cloudbroker, endpoint: e, description: {deployment_id: d, instance_type_id: i}}";
    let planned = SERVER.replace("{type: local}", planned);
    home.write("nodes/node_definitions.yaml", &(planned + &SERVER.replace("server", "client")));
    home.ok(&["validate", "infra.yaml"]);
    assert_eq!(home.run(&["validate", "--strict", "infra.yaml"]).0, Some(3));
    let (code, _, stderr) = home.run(&["build", "infra.yaml"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("cloudbroker") && stderr.contains("node_definitions.yaml:2:"), "{stderr}");
}
