use occopus_sdk::testing::{FakeFacts, render};
use occopus_sdk::{Address, Fault, Instance, Rendered};
use serde_json::{Value, json};

use super::{CloudInit, yaml};

fn rendered(section: Value, resource: Value) -> Result<Rendered, Fault> {
    let master = Instance {
        instance_id: "m1".to_owned(),
        node_name: "master".to_owned(),
        addresses: vec![Address { value: "10.0.0.1".to_owned(), internal: false }],
        data: json!({}),
    };
    let data = json!({"node_id": "n1", "variables": {"key": "BEGIN\n\nabc\n\nEND\n", "bad": "a: b: c"}});
    render::<CloudInit>(&section, resource, data, FakeFacts(vec![master]))
}

fn user_data(section: Value) -> String {
    let rendered = rendered(section, json!({})).expect("it renders");
    String::from_utf8(rendered.user_data.expect("user data")).expect("text")
}

#[test]
fn a_text_is_rendered_as_it_is() {
    assert_eq!(
        user_data(json!({"context_template": "#!/bin/sh\nping {{ getip('master') }}\n"})),
        "#!/bin/sh\nping 10.0.0.1"
    );
}

#[test]
fn a_document_becomes_sorted_yaml() {
    let template = json!({
        "write_files": [{"path": "/tmp/x", "permissions": "0644", "content": "{{ node_id }}\n", "on": "yes"}],
        "runcmd": ["ping {{ getip('master') }}", ["a", 1, true, null]],
    });
    assert_eq!(
        user_data(json!({"context_template": template})),
        "#cloud-config\n\
         runcmd:\n- ping 10.0.0.1\n- - a\n  - 1\n  - true\n  - null\n\
         write_files:\n- content: |\n    n1\n  on: yes\n  path: /tmp/x\n  permissions: \"0644\"\n"
    );
}

#[test]
fn keys_with_empty_lines_are_folded() {
    let text = user_data(json!({"context_template": {"key": "{{ variables.key }}\nnext\n"}}));
    assert_eq!(text, "#cloud-config\nkey: |\n  BEGIN\n  abc\n  END \n  next\n");
}

#[test]
fn without_a_template_there_is_no_user_data() {
    let rendered = rendered(json!({"context_template": null}), json!({"image": "{{ node_id }}"})).expect("it renders");
    assert_eq!(rendered.attributes, json!({"connections": []}));
    assert!(rendered.user_data.is_none() && rendered.resource.is_none(), "the host renders the section");
}

#[test]
fn broken_cloud_config_is_found() {
    let fault = rendered(json!({"context_template": "#cloud-config\nx: {{ variables.bad }}\n"}), json!({}))
        .expect_err("bad YAML");
    assert_eq!((fault.code.as_str(), fault.details[0].pointer.as_str()), ("cloudinit.bad-yaml", "/context_template"));
    assert!(fault.details[0].message.contains("line 2"), "{fault:?}");
    let fault = rendered(json!({"context_template": {"a": ["{{ x.y }}"]}}), json!({})).expect_err("undefined");
    assert_eq!(fault.details[0].pointer, "/context_template/a/0");
}

#[test]
fn what_is_written_reads_back() {
    let texts = [
        "",
        " ",
        "a",
        "a ",
        "yes",
        "No",
        "null",
        "~",
        "1",
        "0644",
        "1.0",
        "0x1f",
        "2001-01-01",
        ".5",
        "-",
        "- a",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "{a}",
        "[a]",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "\\",
        "a\nb",
        "a\nb\n",
        "a\n\nb\n\n",
        "\na",
        " a\nb",
        "a\n  b",
        "a\n \nb",
        "a\n\tb\n",
        "\ta\nb",
        "é",
        "a\rb",
        "\u{7f}\u{85}\u{2028}",
        "---\na",
        "...\n",
        "a\n--- b",
        "=",
        "<<",
        "😀",
        "a\n#b\n",
        "?",
        "? a",
        "k|v",
        "a, b",
        "\n",
        "\n\n",
    ];
    for text in texts {
        let document =
            json!({"top": {"k": text, text: [text, [text], {"k": text}]}, "list": [text, [], {}, {"a": []}]});
        let written = yaml::write(&document);
        let read: Value = serde_yaml_ng::from_str(&written).unwrap_or_else(|error| panic!("{error} in {written}"));
        assert_eq!(read, document, "{written}");
    }
}

/// Returns code and line of each warning.
fn warned(template: &str) -> Vec<(String, usize)> {
    rendered(json!({"context_template": template}), json!({})).expect("it renders");
    occopus_sdk::testing::host(|host| {
        host.warnings
            .iter()
            .map(|(code, message, pointer)| {
                assert_eq!(pointer, "/context_template");
                let line = message.strip_prefix("line ").and_then(|rest| rest.split(':').next()?.parse().ok());
                (code.clone(), line.expect("a line"))
            })
            .collect()
    })
}

#[test]
fn what_cloud_init_ignores_is_told_at_its_line() {
    let jinja = "{% raw %}## template: jinja\n#cloud-config\n";
    for (template, code, line) in [
        ("---\n#cloud-config\npackages: [a]\n", "cloudinit.ignored", 1),
        ("# mine\n\n#cloud-config\npackages: [a]\n", "cloudinit.ignored", 1),
        ("\n#cloud-config\npackages: [a]\n", "cloudinit.first-line", 1),
        ("\n#!/bin/sh\necho\n", "cloudinit.ignored", 1),
        ("  #!/bin/sh\necho\n", "cloudinit.ignored", 1),
        ("\n## template: jinja\n#cloud-config\na: b\n", "cloudinit.ignored", 1),
        ("packages: [a]\n", "cloudinit.ignored", 1),
        ("# cloud-config\npackages: [a]\n", "cloudinit.ignored", 1),
        ("echo hello\n", "cloudinit.ignored", 1),
        ("#!/bin/sh\r\necho\r\n", "cloudinit.line-ends", 1),
        ("#cloud-config\n# none\n- a\n", "cloudinit.ignored", 3),
        ("#cloud-config\nhello\n", "cloudinit.ignored", 2),
        ("## template: jinja\npackages: [a]\n", "cloudinit.ignored", 2),
        ("## template: jinja\n\n---\n#cloud-config\n", "cloudinit.ignored", 3),
        (&format!("{jinja}a: {{{{ v1.x }}}}\nb: c: d\n{{% endraw %}}"), "cloudinit.ignored", 4),
        (&format!("{jinja}- {{{{ v1.x }}}}\n{{% endraw %}}"), "cloudinit.ignored", 3),
    ] {
        assert_eq!(warned(template), [(code.to_owned(), line)], "{template}");
    }
}

#[test]
fn what_cloud_init_uses_is_not_doubted() {
    for template in [
        "",
        "\n",
        "#cloud-config\n",
        "#cloud-config\n---\npackages: [a]\n",
        "#Cloud-Config\npackages: [a]\n",
        "#cloud-config-archive\n- type: text/cloud-config\n",
        "#!/bin/sh\necho\n",
        "#include\nhttp://a/b\n",
        "#cloud-boothook\n#!/bin/sh\n",
        "Content-Type: multipart/mixed; boundary=\"=\"\nMIME-Version: 1.0\n\n--=\n",
        "## template: jinja\n#cloud-config\npackages: [a]\n",
        "## template: jinja\n#!/bin/sh\necho\n",
        "## template: jinja\n{% raw %}{% if x %}\n#cloud-config{% endif %}\n{% endraw %}",
        "{% raw %}## template: jinja\n#cloud-config\n{% if v1.x %}\na: {{ v1.y }}\n{% else %}\na: 2\n{% endif %}\n{% endraw %}",
    ] {
        assert_eq!(warned(template), [], "{template}");
    }
    user_data(json!({"context_template": {"packages": ["a"]}}));
    assert_eq!(occopus_sdk::testing::host(|host| host.warnings.len()), 0);
}

#[test]
fn bytes_stay_bytes() {
    let template =
        json!({"write_files": [{"path": "/x", "content": {"!!binary": "AAEC/w=="}}], "a": [{"!!binary": "AA=="}]});
    assert_eq!(
        user_data(json!({"context_template": template})),
        "#cloud-config\na:\n- !!binary AA==\nwrite_files:\n- content: !!binary AAEC/w==\n  path: /x\n"
    );
}
