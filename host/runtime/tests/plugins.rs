//! Tests that plugins which were compiled against earlier contracts still work, and that what is not a plugin is
//! reported clearly.

mod common;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use common::{context, create, fixture, from_bytes, request, runtime, runtime_with, runtime_with_cache};
use occopus_engine::ports::{
    Address, ContextRequest, Fault, HealthTarget, InstanceFacts, Phase, Plugins as _, Reaction, Renderers as _, Verdict,
};
use occopus_model::{Credential, SectionKind};
use occopus_runtime::grants::Grants;
use occopus_runtime::{CallLimits, Consent, CredentialSource, PluginKind, PluginSource, Runtime};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);

fn runtime_with_fixture(name: &str) -> Arc<Runtime> {
    runtime(vec![fixture(name)], Grants::default(), CallLimits::default())
}

#[tokio::test]
async fn a_driver_of_contract_0_1_0() {
    let runtime = runtime_with_fixture("0.1.0/driver.wasm");
    let section = json!({"type": "fixture-driver", "size": {"cores": 2}, "endpoint": "http://127.0.0.1:1"});
    let request = request(section.clone(), MINUTE);
    let observed = create(&runtime, "fixture-driver", &request).await.expect("created");
    assert_eq!((observed.phase, observed.addresses[0].value.as_str()), (Phase::Running, "127.0.0.1"));
    let seen: serde_json::Value = serde_json::from_str(&observed.attributes[0].1).expect("JSON");
    assert_eq!(seen, section, "the driver sees the section as it is");

    let driver = runtime.driver("fixture-driver").expect("a driver");
    let found = driver.find(&request.scope, &request.instance_id).await.expect("found");
    assert_eq!(found.expect("there").handle, observed.handle);
    let handles = [observed.handle.clone(), observed.handle.clone()];
    assert_eq!(driver.observe(&request.scope, &handles).await.expect("observed").len(), 2);
    assert!(driver.observe(&request.scope, &[]).await.expect("nothing to ask").is_empty());
    driver.destroy(&request.scope, &observed.handle).await.expect("destroyed");
    let unsupported = driver.list_owned(&request.scope, None).await.expect_err("not exported");
    assert_eq!(unsupported.reaction, Reaction::Unsupported);
}

/// Returns the result of `work`, and how often a timer of one millisecond ended on its thread meanwhile.
async fn with_timer<T>(work: impl Future<Output = T>) -> (T, u32) {
    let ticks = Cell::new(0);
    let timer = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ticks.set(ticks.get() + 1);
        }
    };
    let done = tokio::select! {
        done = work => done,
        never = timer => never,
    };
    (done, ticks.get())
}

#[tokio::test]
async fn a_timer_goes_on_while_a_plugin_is_compiled_and_describes_itself() {
    let cache = || tempfile::tempdir().expect("a directory");
    let (first, second) = (cache(), cache());
    let runtime = runtime_with_cache(first.path(), "0.1.0/driver.wasm");
    let ((), ticks) = with_timer(runtime.describe_plugins()).await;
    assert!(ticks > 10, "{ticks} ticks while the plugin described itself");
    let description = |directory: &tempfile::TempDir| directory.path().join("cache/described");
    std::fs::create_dir(second.path().join("cache")).expect("a directory");
    std::fs::rename(description(&first), description(&second)).expect("a directory of descriptions");

    // Described, and not compiled.
    let runtime = runtime_with_cache(second.path(), "0.1.0/driver.wasm");
    let section = json!({"type": "fixture-driver", "size": {"cores": 2}, "endpoint": "http://127.0.0.1:1"});
    let request = request(section, MINUTE);
    let (created, ticks) = with_timer(create(&runtime, "fixture-driver", &request)).await;
    created.expect("created");
    assert!(ticks > 10, "{ticks} ticks while the plugin was compiled");
}

/// Credentials that are there and can't be had.
struct Unreadable;

impl CredentialSource for Unreadable {
    fn credential(&self, _: SectionKind, _: &serde_json::Value) -> Result<Option<Credential>, Fault> {
        Err(Fault::new(Reaction::GiveUp, "credentials.unread", "they have not been read"))
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_an_error_also_for_a_driver_that_has_none() {
    let plugins = vec![fixture("0.1.0/driver.wasm")];
    let runtime = runtime_with(plugins, Grants::default(), CallLimits::default(), Arc::new(Unreadable), false);
    let request = request(json!({"type": "fixture-driver"}), MINUTE);
    let fault = create(&runtime, "fixture-driver", &request).await.expect_err("there may be certificates among them");
    assert_eq!((fault.code.as_str(), fault.reaction), ("credentials.unread", Reaction::GiveUp));
}

#[tokio::test]
async fn a_health_checker_of_contract_0_1_0() {
    let runtime = runtime_with_fixture("0.1.0/health-checker.wasm");
    let checker = runtime.health_checker("fixture-health-checker").expect("a checker");
    for (section, verdict) in [(json!(true), Verdict::Healthy), (json!(false), Verdict::Unhealthy)] {
        let target = HealthTarget {
            context: context(MINUTE),
            section: Arc::new(section),
            addresses: vec![Address { value: "192.0.2.7".to_owned(), internal: false }],
            node_name: "web".to_owned(),
            instance_id: "0b0e6b3c-0000-4000-8000-000000000001".to_owned(),
            template_data: json!({}),
        };
        let observation = checker.check(&target).await.expect("checked");
        assert_eq!(observation.verdict, verdict);
        assert_eq!(observation.details, [("address".to_owned(), "192.0.2.7".to_owned())]);
    }
}

#[tokio::test]
async fn a_contextualiser_of_contract_0_1_0() {
    let runtime = runtime_with_fixture("0.1.0/contextualiser.wasm");
    let contextualiser = runtime.contextualiser("fixture-contextualiser").expect("a contextualiser");
    let facts = InstanceFacts {
        instance_id: "0b0e6b3c-0000-4000-8000-000000000001".to_owned(),
        node_name: "db".to_owned(),
        addresses: Vec::new(),
        data: json!({}),
    };
    let rendered = contextualiser
        .render(&ContextRequest {
            context: context(MINUTE),
            section: Arc::new(json!({"type": "fixture-contextualiser"})),
            resource: Arc::new(json!({"type": "cloud"})),
            template_data: json!({"name": "web"}),
            connections: json!([{"to": "db"}]),
            instances: Arc::new(vec![Arc::new(facts)]),
        })
        .await
        .expect("rendered");
    assert_eq!(rendered.attributes, json!({"instances": 1, "connections": [{"to": "db"}]}));
    assert_eq!(rendered.resource, Some(json!({"type": "cloud"})));
    assert_eq!(rendered.user_data.as_deref(), Some(br#"{"name":"web"}"#.as_slice()));
}

#[test]
fn a_config_manager_of_contract_0_1_0() {
    let runtime = runtime_with_fixture("0.1.0/config-manager.wasm");
    let list = runtime.list();
    assert_eq!(list.len(), 1, "{:?}", runtime.load_errors());
    assert_eq!((list[0].kind, list[0].contract.as_str()), (PluginKind::ConfigManager, "0.1.0"));
    assert_eq!(list[0].description.name, "fixture-config-manager");
}

/// Returns the load error of a plugin of these bytes, beside one that works.
fn load_error_of(bytes: Vec<u8>) -> String {
    let plugins = vec![from_bytes("strange.wasm", bytes), fixture("0.1.0/driver.wasm")];
    let runtime = runtime(plugins, Grants::default(), CallLimits::default());
    assert!(runtime.driver("fixture-driver").is_some(), "the others are not harmed");
    let broken = runtime.load_errors();
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].starts_with("strange.wasm"), "{}", broken[0]);
    broken[0].clone()
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a component")
}

#[test]
fn what_is_no_component() {
    assert!(load_error_of(b"#!/bin/sh\n".to_vec()).contains("it is not WebAssembly"));
    assert!(load_error_of(Vec::new()).contains("not"));
    assert!(load_error_of(component("(module)")).contains("it is a core module. Build it for wasm32-wasip2"));
    let mut cut_off = fixture("0.1.0/driver.wasm").bytes.into_owned();
    cut_off.truncate(cut_off.len() / 2);
    assert!(load_error_of(cut_off).contains("not"));
}

#[test]
fn a_component_of_another_world() {
    let said = load_error_of(component(r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#));
    assert!(said.contains("it exports wasi:cli/run@0.2.0"), "{said}");
    assert!(said.contains("occopus:driver/nodes@0.1.0 (driver)"), "{said}");
}

#[test]
fn a_plugin_of_a_contract_to_come() {
    let said =
        load_error_of(component(r#"(component (instance $i) (export "occopus:driver/nodes@0.9.0" (instance $i)))"#));
    assert!(said.contains("the contract 0.9.0, but this host supports 0.1"), "{said}");
}

#[test]
fn a_plugin_that_wants_an_interface_that_there_is_not() {
    let said = load_error_of(component(
        r#"(component
            (import "occopus:host/teleport@0.1.0" (instance (export "beam" (func))))
            (instance $i)
            (export "occopus:driver/nodes@0.1.0" (instance $i)))"#,
    ));
    assert!(said.contains("it imports occopus:host/teleport@0.1.0, which this host does not have"), "{said}");
    assert!(said.contains("occopus:host/log@0.1.0"), "what there is: {said}");
}

#[test]
fn a_plugin_without_a_description() {
    let said =
        load_error_of(component(r#"(component (instance $i) (export "occopus:driver/nodes@0.1.0" (instance $i)))"#));
    assert!(said.contains("does not describe itself"), "{said}");
}

#[test]
fn a_bundled_plugin_is_replaced_by_what_somebody_agreed_to() {
    let mut bundled = fixture("0.1.0/driver.wasm");
    bundled.origin = occopus_runtime::Origin::Bundled;
    let origin_of = |plugins: Vec<PluginSource>| {
        let runtime = runtime(plugins, Grants::default(), CallLimits::default());
        let list = runtime.list();
        assert_eq!(list.len(), 1);
        (list[0].origin.clone(), runtime.load_errors())
    };
    let file = fixture("0.1.0/driver.wasm");
    let pinned = |replaces| PluginSource {
        consent: Some(Consent { sha256: digest(&file.bytes), replaces, ..Consent::default() }),
        ..file.clone()
    };
    for rejected in [file.clone(), pinned(false)] {
        let (origin, broken) = origin_of(vec![bundled.clone(), rejected]);
        assert_eq!(origin, "bundled");
        assert!(broken.len() == 1 && broken[0].contains("--replace"), "{broken:?}");
    }
    assert_eq!(origin_of(vec![bundled, pinned(true)]), ("0.1.0/driver.wasm".to_owned(), Vec::new()));
    // Of two files that nobody agreed to, the later one counts.
    let other = PluginSource { origin: occopus_runtime::Origin::File("other.wasm".into()), ..file.clone() };
    assert_eq!(origin_of(vec![file.clone(), other]), ("other.wasm".to_owned(), Vec::new()));
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
