//! Deployments of container groups on the state machine of Azure.

use std::time::Duration;

use occopus_tests::wait::pause;
use occopus_tests::{Occopus, TestAzure, kill_builds};
use serde_json::{Value, json};

const GROUPS: &str = "Microsoft.ContainerInstance/containerGroups";
const NETWORKS: &str = "Microsoft.Network/virtualNetworks";

/// The tutorial `azure-aci-nginx` of the existing tool with its placeholders filled in. Its health check of port 80 is left
/// out: the names that this Azure gives resolve nowhere.
const NGINX_INFRASTRUCTURE: &str = r#"infra_name: azure-aci-nginx-infra
user_id: somebody@somewhere.com

nodes:
  - &R
    name: nginx-server
    type: azure_aci_nginx_node
  - &S
    name: nginx-client
    type: azure_aci_client_node
    variables:
      message: "Hello World! I am the client node created by Occopus."
      targetnode: nginx-server

dependencies:
  -
    connection: [ *S, *R ]
"#;
const NGINX_DEFINITIONS: &str = r#"'node_def:azure_aci_nginx_node':
  -
    resource:
      type: azure_aci
      endpoint: ENDPOINT
      resource_group: demo
      location: westeurope
      memory: 1
      cpu_cores: 1
      os_type: linux
      image: nginx:alpine
      network_type: Public
      ports:
        - 80
    health_check:
      ping: False
'node_def:azure_aci_client_node':
  -
    resource:
      type: azure_aci
      endpoint: ENDPOINT
      resource_group: demo
      location: westeurope
      memory: 1
      cpu_cores: 1
      os_type: linux
      image: alpine
      network_type: Public
      ports:
        - 8080
    contextualisation:
      type: docker
      env: ["message={{variables.message}}"]
      command: ["sh", "-c", "echo \"$message\" > /tmp/message.txt; wget -O /tmp/nginx_content.html {{getip(variables.targetnode)}}; while true; do sleep 1000; done"]
    health_check:
      ping: False
"#;

/// Writes a description of a node like that of the tutorial `azure-aci-helloworld`.
fn write(occopus: &Occopus, azure: &TestAzure, count: usize, more: &str) -> &'static str {
    let infrastructure = format!(
        "infra_name: azure-aci-helloworld-infra\nuser_id: somebody@somewhere.com\nnodes:\n- name: helloworld\n  type: hello\n  \
         scaling: {{min: {count}, max: 20}}\n"
    );
    occopus.write("infra.yaml", infrastructure);
    let definitions = format!(
        "'node_def:hello':\n- resource:\n    type: azure_aci\n    endpoint: {}\n    resource_group: demo\n    location: westeurope\n    \
         memory: 1\n    cpu_cores: 1\n    os_type: linux\n    ports: [8080]\n{more}  health_check:\n    ping: false\n",
        azure.url
    );
    occopus.write("nodes/node_definitions.yaml", definitions);
    azure.write_credentials(occopus, &["azure_aci"]);
    "infra.yaml"
}

/// Returns the containers of the bodies that made the groups of a node.
fn containers(azure: &TestAzure, node: &str) -> Vec<Value> {
    let of_node = |each: &Value| each["type"] == GROUPS && each["tags"]["occopus.node"] == node;
    let groups = azure.resources().into_iter().filter(of_node);
    let body = |group: Value| {
        let path = format!("body?id={}", group["id"].as_str().expect("an id"));
        azure.control("GET", &path, &Value::Null)["properties"]["containers"][0]["properties"].clone()
    };
    groups.map(body).collect()
}

#[test]
fn the_tutorial_is_built_healed_and_destroyed() {
    let Some(azure) = TestAzure::start("the_tutorial_is_built_healed_and_destroyed") else { return };
    let occopus = Occopus::new();
    occopus.write("infra.yaml", NGINX_INFRASTRUCTURE);
    occopus.write("nodes/node_definitions.yaml", NGINX_DEFINITIONS.replace("ENDPOINT", &azure.url));
    azure.write_credentials(&occopus, &["azure_aci"]);
    let built = occopus.ok(["build", "infra.yaml", "-i", "it"]);
    assert!(!format!("{}{}", built.stdout, built.stderr).contains(azure.secret()));
    let server = &containers(&azure, "nginx-server")[0];
    let name = server["environmentVariables"][0]["value"].as_str().expect("a name").to_owned();
    assert!(name.ends_with(".westeurope.azurecontainer.io"), "{server}");
    let client = &containers(&azure, "nginx-client")[0];
    assert!(
        client["command"][2].as_str().expect("a command").contains(&format!("nginx_content.html {name};")),
        "{client}"
    );

    let lost = azure.resources().into_iter().find(|each| each["tags"]["occopus.node"] == "nginx-server");
    azure.control("POST", "delete", &json!({"id": lost.expect("the server")["id"]}));
    pause("Azure may show late what it has just made: younger groups are not given up", Duration::from_secs(11));
    occopus.run(["maintain", "-i", "it"]);
    assert_eq!(azure.names(GROUPS).len(), 2);
    occopus.ok(["destroy", "-i", "it"]);
    assert!(azure.resources().is_empty());
}

#[test]
fn private_groups_share_a_network_that_goes_with_the_last() {
    let Some(azure) = TestAzure::start("private_groups_share_a_network_that_goes_with_the_last") else { return };
    azure.settings(&json!({"container_delete_async": true, "page_size": 3, "list_lag": 1, "get_lag": 1}));
    let occopus = Occopus::new();
    write(&occopus, &azure, 5, "    image: alpine\n    network_type: Private\n");
    occopus.ok(["build", "infra.yaml", "-i", "it"]);
    assert_eq!((azure.names(GROUPS).len(), azure.names(NETWORKS).len()), (5, 1));
    occopus.ok(["scale", "-i", "it", "-n", "helloworld", "-s", "7"]);
    assert_eq!((azure.names(GROUPS).len(), azure.names(NETWORKS).len()), (7, 1));
    occopus.ok(["destroy", "-i", "it"]);
    assert!(azure.resources().is_empty(), "{:?}", azure.resources());
}

#[test]
fn groups_cost_one_write_each() {
    let Some(azure) = TestAzure::start("groups_cost_one_write_each") else { return };
    let occopus = Occopus::new();
    write(&occopus, &azure, 20, "    image: alpine\n    network_type: Private\n");
    occopus.ok(["build", "infra.yaml", "-i", "it"]);
    let requests = azure.requests();
    assert_eq!(requests[&format!("PUT {GROUPS}")], 20, "{requests:?}");
    assert!(requests[&format!("PUT {NETWORKS}")] <= 2 && requests["PUT resourceGroups"] == 1, "{requests:?}");
    azure.control("DELETE", "requests", &Value::Null);
    occopus.ok(["maintain", "-i", "it"]);
    let requests = azure.requests();
    assert_eq!(requests[&format!("GET {GROUPS} list")], 1, "{requests:?}");
    azure.control("DELETE", "requests", &Value::Null);
    occopus.ok(["destroy", "-i", "it"]);
    assert!(azure.requests()[&format!("DELETE {GROUPS}")] <= 40, "{:?}", azure.requests());
    assert!(azure.resources().is_empty());
}

#[test]
fn a_group_that_fails_says_why() {
    let Some(azure) = TestAzure::start("a_group_that_fails_says_why") else { return };
    azure.settings(&json!({"container_run_seconds": 0.1}));
    for (more, said) in [
        ("    image: missing:1\n", ["Azure can't pull the image `missing:1`", "not found"]),
        ("    image: job-exits-3\n    restart_policy: Never\n", ["(exit status 3)", "Started container"]),
        ("    image: inaccessible\n", ["(InaccessibleImage)", "correlation id"]),
    ] {
        let occopus = Occopus::new();
        write(&occopus, &azure, 1, &format!("    network_type: Public\n{more}"));
        let failed = occopus.run(["build", "infra.yaml"]);
        assert_eq!(failed.code, Some(1), "{more}");
        for words in said {
            assert!(failed.stderr.contains(words), "{more}: {words}: {}", failed.stderr);
        }
        assert!(azure.resources().is_empty(), "{more}");
    }
}

#[test]
fn whenever_a_build_is_killed_nothing_is_lost_doubled_or_left() {
    let Some(azure) = TestAzure::start("whenever_a_build_is_killed_nothing_is_lost_doubled_or_left") else { return };
    azure.settings(&json!({"delays": {"default": 0.3}}));
    let more = "    image: alpine\n    network_type: Private\n";
    let of = |id: &str| {
        let ours = |each: &&Value| each["tags"]["occopus.infrastructure"] == id;
        let resources = azure.resources();
        // The network counts once there is nothing else: it must not be left.
        let groups = resources.iter().filter(ours).filter(|each| each["type"] == GROUPS).count();
        if groups == 0 { resources.iter().filter(ours).count() } else { groups }
    };
    kill_builds(&|occopus| write(occopus, &azure, 5, more), 5, &of);
}
