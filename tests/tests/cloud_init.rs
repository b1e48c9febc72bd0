//! Rendered user data is valid for cloud-init, by cloud-init's own schema.

use std::process::Command;

use occopus_tests::{Occopus, skip};

const DEFINITIONS: &str = r#"'node_def:document':
- resource: {type: local}
  contextualisation:
    type: cloudinit
    context_template: !yaml_import
      url: file://cloud_init.yaml
  health_check: {ping: false}
'node_def:text':
- resource: {type: local}
  contextualisation:
    type: cloudinit
    context_template: !text_import
      url: file://cloud_init.yaml
  health_check: {ping: false}
"#;

const TEMPLATE: &str = r#"#cloud-config
hostname: '{{ name }}'
package_upgrade: yes
package_reboot_if_required: no
packages: [curl, ['jq', '1.6']]
write_files:
- path: /etc/greeting
  permissions: '0644'
  owner: root:root
  content: |
    {{ variables.greeting }}
    peer: {{ getip('peer') }}

    {% for word in variables.words %}{{ word }} {% endfor %}
- path: /etc/number
  content: "{{ variables.number }}"
users:
- default
- name: someone
  lock_passwd: true
  sudo: ALL=(ALL) NOPASSWD:ALL
runcmd:
- echo "a b" 'c' # a comment
- [sh, -c, "echo {{ infra_name }} && date"]
final_message: 'ready: {{ node_id }} é'
"#;

fn write(occopus: &Occopus, template: &str) {
    occopus.write(
        "infra.yaml",
        "infra_name: ci\nuser_id: me\nvariables: {greeting: \"Hello, it's me\", words: [one, two], number: 5}\nnodes:\n\
         - {name: peer, type: text}\n- {name: one, type: document}\n- {name: two, type: text}\n\
         dependencies: [[one, peer], [two, peer]]\n",
    );
    occopus.write("nodes/node_definitions.yaml", DEFINITIONS);
    occopus.write("nodes/cloud_init.yaml", template);
}

/// Writes the user data of the node into a file.
fn rendered(occopus: &Occopus, node: &str) -> std::path::PathBuf {
    let rendered = occopus.ok(["render", "infra.yaml", node, "--output", "json"]).stdout;
    let rendered: serde_json::Value = serde_json::from_str(&rendered).expect("JSON");
    occopus.write("user-data", rendered[0]["user_data"].as_str().expect("user data"))
}

#[test]
fn cloud_init_takes_what_is_rendered() {
    if !Command::new("cloud-init").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skip("cloud_init_takes_what_is_rendered", "there is no cloud-init (Debian: cloud-init)");
    }
    let occopus = Occopus::new();
    // The first node has no peer; the others are checked.
    write(&occopus, &TEMPLATE.replace("getip('peer')", "cut(infra_name, 0, 2)"));
    for node in ["peer", "one", "two"] {
        let file = rendered(&occopus, node);
        let checked = Command::new("cloud-init").args(["schema", "--config-file"]).arg(&file).output().expect("runs");
        let output = String::from_utf8_lossy(&checked.stdout).into_owned() + &*String::from_utf8_lossy(&checked.stderr);
        let text = std::fs::read_to_string(&file).expect("user data");
        assert!(checked.status.success() && output.contains("Valid"), "{node}: {output}\n{text}");
    }
    // A test of the check itself: it rejects wrong data.
    write(&occopus, &TEMPLATE.replace("getip('peer')", "name").replace("lock_passwd: true", "lock_passwd: [true]"));
    let file = rendered(&occopus, "one");
    let checked = Command::new("cloud-init").args(["schema", "--config-file"]).arg(&file).output().expect("runs");
    assert!(!checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
