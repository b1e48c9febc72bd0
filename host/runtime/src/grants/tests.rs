//! Tests of grants and of refusals.

use std::net::IpAddr;

use occopus_engine::ports::{Fault, Reaction};

use super::*;

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn operator(network: &[&str], interfaces: &[&str]) -> PluginGrants {
    serde_json::from_value(serde_json::json!({ "network": network, "interfaces": interfaces })).unwrap()
}

/// Returns the grants of a driver's call, which needs its endpoint.
fn driver(endpoint: &str, granted: &[&str]) -> CallGrants {
    Grants::default().for_call(&GrantSubject {
        plugin: "docker",
        operator: Some(&operator(granted, &[])),
        needs_network: &texts(&["endpoint"]),
        endpoints: &texts(&[endpoint]),
        ..GrantSubject::default()
    })
}

/// Returns the grants of a health checker's call, which needs the node.
fn checker(node: &str) -> CallGrants {
    Grants::default().for_call(&GrantSubject {
        plugin: "urls",
        needs_network: &texts(&["node-address"]),
        node_addresses: &texts(&[node]),
        ..GrantSubject::default()
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_endpoint_is_granted_and_nothing_else() {
    let grants = driver("https://cloud.example.com/v3", &[]);
    assert!(grants.check_name("cloud.example.com", 443).is_ok());
    assert!(grants.check_name("Cloud.Example.Com.", 443).is_ok());
    assert!(grants.check_name("cloud.example.com", 80).is_err());
    assert!(grants.check_name("example.com", 443).is_err());
    assert!(grants.check_name("10.0.0.1", 443).is_err());
}

#[test]
fn a_companion_is_granted_by_its_endpoint_alone() {
    let line = "login.example.com:443 for api.example.com:443";
    let grants = |bundled, granted: &[&str], endpoint: &str| {
        Grants::default().for_call(&GrantSubject {
            plugin: "cloud",
            bundled,
            operator: Some(&operator(granted, &[])),
            needs_network: &texts(&["endpoint", line]),
            endpoints: &texts(&[endpoint]),
            ..GrantSubject::default()
        })
    };
    for (bundled, granted) in [(true, [].as_slice()), (false, [line].as_slice())] {
        let here = grants(bundled, granted, "https://API.example.com/");
        assert!(
            here.check_name("login.example.com", 443).is_ok() && here.check_secrets("login.example.com", 443).is_ok()
        );
        assert!(here.check_name("login.example.com", 80).is_err() && here.check_name("example.com", 443).is_err());
        for elsewhere in
            ["https://api.example.org", "http://api.example.com", "https://api.example.com:8443", "unix:///run/x"]
        {
            assert!(grants(bundled, granted, elsewhere).check_name("login.example.com", 443).is_err(), "{elsewhere}");
            assert!(
                grants(bundled, granted, elsewhere).check_secrets("login.example.com", 443).is_err(),
                "{elsewhere}"
            );
        }
    }
    // A plugin that was installed gets it with the operator's consent only.
    let refusal = grants(false, &[], "https://api.example.com").check_name("login.example.com", 443).unwrap_err();
    assert!(refusal.to_string().contains("network: [\"login.example.com:443\"]"), "{refusal}");
}

#[test]
fn without_the_need_the_endpoint_is_not_granted() {
    let endpoints = texts(&["https://cloud.example.com"]);
    let subject = GrantSubject { plugin: "x", endpoints: &endpoints, ..GrantSubject::default() };
    assert!(Grants::default().for_call(&subject).check_name("cloud.example.com", 443).is_err());
}

#[test]
fn a_granted_name_may_be_private_but_neither_metadata_nor_this_machine() {
    let grants = driver("http://cloud.internal:8080", &[]);
    for fine in ["10.0.0.7", "192.168.1.1", "fd12::1", "8.8.8.8"] {
        assert!(grants.check_address(ip(fine), 8080, Some("cloud.internal")).is_ok(), "{fine}");
    }
    for wrong in
        ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "127.0.0.1", "::1", "0.0.0.0"]
    {
        assert!(grants.check_address(ip(wrong), 8080, Some("cloud.internal")).is_err(), "{wrong}");
    }
    assert!(grants.check_address(ip("10.0.0.7"), 8080, Some("other.internal")).is_err());
    assert!(grants.check_address(ip("10.0.0.7"), 8080, None).is_err());
}

#[test]
fn loopback_is_granted_where_it_is_written() {
    assert!(driver("tcp://127.0.0.1:2375", &[]).check_name("127.0.0.1", 2375).is_ok());
    assert!(driver("tcp://127.0.0.1:2375", &[]).check_name("127.0.0.2", 2375).is_err());
    let grants = driver("http://localhost:2375", &[]);
    assert!(grants.check_address(ip("::1"), 2375, Some("localhost")).is_ok());
    assert!(checker("127.5.0.1").check_name("127.5.0.1", 80).is_ok());
    assert!(driver("http://x:1", &["127.0.0.0/8:*"]).check_name("127.5.0.1", 80).is_ok());
    // A wide grant does not cover this machine.
    assert!(driver("http://x:1", &["0.0.0.0/0:*", "*:*"]).check_name("127.5.0.1", 80).is_err());
}

#[test]
fn metadata_takes_the_operator_and_the_very_address() {
    assert!(driver("http://169.254.169.254", &[]).check_name("169.254.169.254", 80).is_err());
    assert!(checker("169.254.169.254").check_name("169.254.169.254", 80).is_err());
    assert!(driver("http://x:1", &["169.254.0.0/16:*"]).check_name("169.254.169.254", 80).is_err());
    let grants = driver("http://x:1", &["169.254.169.254:80"]);
    assert!(grants.check_name("169.254.169.254", 80).is_ok());
    assert!(grants.check_name("[::ffff:169.254.169.254]", 80).is_ok());
    assert!(grants.check_name("169.254.169.254", 81).is_err());
    assert!(grants.check_name("[64:ff9b::169.254.169.254]", 80).is_err());
}

#[test]
fn a_name_that_the_guest_resolves_itself_grants_its_addresses() {
    let grants = driver("http://db.internal:5432", &[]);
    assert!(grants.check_address(ip("10.0.0.9"), 5432, None).is_err());
    grants.note_resolution("db.internal", &[ip("10.0.0.9"), ip("127.0.0.1")]);
    assert!(grants.check_address(ip("10.0.0.9"), 5432, None).is_ok());
    assert!(grants.check_address(ip("10.0.0.9"), 22, None).is_err());
    assert!(grants.check_address(ip("127.0.0.1"), 5432, None).is_err());
    grants.note_resolution("evil.example.com", &[ip("10.0.0.10")]);
    assert!(grants.check_address(ip("10.0.0.10"), 5432, None).is_err());
}

#[test]
fn an_echo_goes_to_the_node_only() {
    assert!(checker("10.0.0.7").check_echo(ip("10.0.0.7")).is_ok());
    assert!(checker("127.0.3.4").check_echo(ip("127.0.3.4")).is_ok());
    let refusal = checker("10.0.0.7").check_echo(ip("10.0.0.8")).unwrap_err();
    assert!(refusal.configuration.contains("\"10.0.0.8:*\""), "{refusal}");
    let refusal = checker("10.0.0.7").check_echo(ip("2001:db8:0:1::1")).unwrap_err();
    assert!(refusal.configuration.contains("\"[2001:db8:0:1::1]:*\""), "{refusal}");
    assert!(checker("169.254.169.254").check_echo(ip("169.254.169.254")).is_err());
    let named = checker("node.internal");
    assert!(named.check_echo(ip("10.0.0.8")).is_err());
    named.note_resolution("node.internal", &[ip("10.0.0.8")]);
    assert!(named.check_echo(ip("10.0.0.8")).is_ok());
}

#[test]
fn only_granted_names_are_looked_up() {
    let grants = driver("http://db.internal:5432", &["*.example.com:443"]);
    assert!(grants.check_lookup("db.internal").is_ok());
    assert!(grants.check_lookup("a.example.com").is_ok());
    let refusal = grants.check_lookup("stolen-data.evil.example").unwrap_err();
    assert!(refusal.configuration.contains("\"stolen-data.evil.example:*\""), "{refusal}");
}

#[test]
fn certificates_are_for_the_endpoint_and_authorities_for_those_that_it_announces() {
    let tls = occopus_model::Tls {
        ca: Some("authorities".to_owned()),
        client: Some(("certificate".to_owned(), occopus_model::Secret::new("key".to_owned()))),
    };
    let identity = crate::http::TlsIdentity::from_tls(&tls);
    let grants = Grants::default().for_call(&GrantSubject {
        plugin: "nova",
        plugin_identity: "nova",
        bundled: true,
        operator: Some(&operator(&["*:443"], &[])),
        needs_network: &texts(&["endpoint", "announced"]),
        endpoints: &texts(&["https://cloud.example.com:5000"]),
        ..GrantSubject::default()
    });
    grants
        .announcements_of("cloud.example.com", 5000)
        .expect("an endpoint")
        .learn(br#"{"url": "https://compute.example.com:8774"}"#);
    let grants = grants.with_tls_identity(identity.clone());
    assert_eq!(grants.tls_identity_for("cloud.example.com", 5000), identity);
    let authorities = crate::http::TlsIdentity::from_tls(&occopus_model::Tls { client: None, ..tls });
    assert_eq!(grants.tls_identity_for("compute.example.com", 8774), authorities);
    assert_eq!(grants.tls_identity_for("granted.example.com", 443), None);
}

#[test]
fn secrets_do_not_go_to_nodes() {
    assert!(checker("10.0.0.7").check_secrets("10.0.0.7", 80).is_err());
    assert!(driver("http://10.0.0.7", &[]).check_secrets("10.0.0.7", 80).is_ok());
    assert!(driver("http://x:1", &["*.example.com:443"]).check_secrets("a.example.com", 443).is_ok());
}

#[test]
fn interfaces_are_granted_to_bundled_plugins_that_need_them_and_by_the_operator() {
    let needs = texts(&["process", "reveal"]);
    let subject =
        |bundled| GrantSubject { plugin: "local", bundled, needs_interfaces: &needs, ..GrantSubject::default() };
    let bundled = Grants::default().for_call(&subject(true));
    assert!(bundled.check_interface(Interface::Process).is_ok());
    assert!(bundled.check_interface(Interface::Icmp).is_err());
    assert!(bundled.check_interface(Interface::Reveal).is_err());
    let foreign = Grants::default().for_call(&subject(false));
    let refusal = foreign.check_interface(Interface::Process).unwrap_err();
    assert_eq!(refusal.configuration, "plugins:\n  local:\n    interfaces: [process]");
    let operator = operator(&[], &["process", "reveal"]);
    let granted = Grants::default().for_call(&GrantSubject { operator: Some(&operator), ..subject(false) });
    assert!(granted.check_interface(Interface::Process).is_ok());
    assert!(granted.check_interface(Interface::Reveal).is_ok());
}

#[test]
fn targets_that_a_plugin_asks_for_are_granted_to_bundled_ones_only() {
    let needs = texts(&["registry.example.com:443"]);
    let subject = |bundled| GrantSubject { plugin: "x", bundled, needs_network: &needs, ..GrantSubject::default() };
    assert!(Grants::default().for_call(&subject(true)).check_name("registry.example.com", 443).is_ok());
    assert!(Grants::default().for_call(&subject(false)).check_name("registry.example.com", 443).is_err());
}

#[test]
fn a_refusal_says_who_what_and_how_to_allow_it() {
    let refusal = driver("http://x:1", &[]).check_name("example.com", 80).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "plugin `docker` asked for example.com:80: this is neither the endpoint of its section nor granted to it. \
         To allow it, add this to the configuration:\nplugins:\n  docker:\n    network: [\"example.com:80\"]"
    );
    // The advice of the refusal works.
    let line = "example.com:80";
    assert!(driver("http://x:1", &[line]).check_name("example.com", 80).is_ok());
    let fault = Fault::from(refusal);
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::GiveUp, "host.not-granted"));
    let tricky = driver("http://x:1", &[]).check_name("a\nb: [\"", 80).unwrap_err();
    assert_eq!(tricky.configuration.lines().count(), 3);
}

#[test]
fn unix_sockets_get_a_host_that_is_valid_in_one_call() {
    let grants = driver("unix:///run/docker.sock", &[]);
    let url = grants.url_for("unix:///run/docker.sock").unwrap();
    assert_eq!(url, grants.url_for("unix:///run/docker.sock").unwrap());
    let host = url.strip_prefix("http://").unwrap();
    assert_eq!(grants.socket_of(host).unwrap().to_str(), Some("/run/docker.sock"));
    assert!(grants.check_name(host, 80).is_ok());
    assert!(grants.check_secrets(host, 80).is_ok());
    assert!(driver("unix:///run/docker.sock", &[]).check_name(host, 80).is_err());
    let fault = grants.url_for("unix:///run/other.sock").unwrap_err();
    assert!(fault.message.contains("\"unix:///run/other.sock\""), "{}", fault.message);
    assert_eq!(grants.url_for("tcp://h:2375/").unwrap(), "http://h:2375");
}

#[test]
fn a_bad_configuration_is_refused() {
    for text in [
        r#"{"plugins": {"x": {"network": ["nonsense"]}}}"#,
        r#"{"plugins": {"x": {"interfaces": ["root"]}}}"#,
        r#"{"plugins": {"x": {"net": []}}}"#,
        r#"{"plugin": {}}"#,
    ] {
        assert!(serde_json::from_str::<Grants>(text).is_err(), "{text}");
    }
}

/// Requires the operator's grant where answers can't be searched.
#[test]
fn a_connection_of_its_own_needs_the_operator_where_there_is_a_credential() {
    let endpoint_alone = driver("http://10.0.0.1:2375", &[]);
    assert!(endpoint_alone.check_address(ip("10.0.0.1"), 2375, None).is_ok());
    let refusal = endpoint_alone.check_raw_connection(ip("10.0.0.1"), 2375).unwrap_err();
    assert!(refusal.reason.contains("wasi:http"), "{refusal}");
    assert_eq!(refusal.configuration, "plugins:\n  docker:\n    network: [\"10.0.0.1:2375\"]");
    let named = driver("http://cloud.example.com:2375", &[]);
    named.note_resolution("cloud.example.com", &[ip("10.0.0.1")]);
    assert!(named.check_raw_connection(ip("10.0.0.1"), 2375).is_err());
    assert!(driver("http://10.0.0.1:2375", &["10.0.0.1:2375"]).check_raw_connection(ip("10.0.0.1"), 2375).is_ok());
    let by_name = driver("http://cloud.example.com:2375", &["cloud.example.com:2375"]);
    by_name.note_resolution("cloud.example.com", &[ip("10.0.0.1")]);
    assert!(by_name.check_raw_connection(ip("10.0.0.1"), 2375).is_ok());
    assert!(by_name.check_raw_connection(ip("10.0.0.1"), 22).is_err());
}
