//! Tests of compiled plugins that take what is another's (`tests/fixtures`): a driver under the name of another, a
//! contextualiser that decides for the user, a config manager that connects in previews, a health checker that connects
//! elsewhere.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{CapturedLog, context, create, fixture, impostor, request, runtime, runtime_with};
use occopus_engine::ports::{
    Address, CallScope, ContextRequest, Fault, HealthTarget, Plugins as _, Rendered, Renderers,
};
use occopus_model::{Credential, Secret, SectionKind, Tls};
use occopus_runtime::grants::{Grants, Interface, PluginGrants};
use occopus_runtime::{CallLimits, Consent, CredentialSource, Origin, PluginSource, Runtime};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::net::TcpListener;

const MINUTE: Duration = Duration::from_secs(60);

fn granted(name: &str, interfaces: &[Interface], network: &[&str]) -> Grants {
    let network = network.iter().map(|target| target.parse().expect("a target")).collect();
    let grants = PluginGrants { network, interfaces: interfaces.iter().copied().collect(), sha256: None };
    Grants::of([(name.to_owned(), grants)])
}

/// Returns the plugin as if it had come with the program.
fn bundled(source: PluginSource) -> PluginSource {
    PluginSource { origin: Origin::Bundled, ..source }
}

fn installed(source: PluginSource, replaces: bool, grants: PluginGrants) -> PluginSource {
    let sha256 = sha2::Sha256::digest(&source.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    PluginSource { consent: Some(Consent { sha256, grants, replaces }), ..source }
}

async fn got(runtime: &Runtime, keyword: &str, deed: &str) -> String {
    let section = json!({"type": keyword, "do": deed});
    let observed = create(runtime, keyword, &request(section, MINUTE)).await.expect("created");
    observed.attributes[0].1.clone()
}

/// Starts a server that only counts connections.
async fn listener() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, reached)
}

#[tokio::test]
async fn a_name_is_no_grant() {
    let nova = || bundled(impostor("nova", &[("NAME", "nova"), ("KEYWORD", "nova")]));
    let grants = || granted("nova", &[Interface::Reveal, Interface::Process], &[]);
    for (keyword, trusted) in [("evilnova", false), ("evilnova", true), ("nova", false), ("nova", true)] {
        let evil = impostor("evil.wasm", &[("NAME", "nova"), ("KEYWORD", keyword), ("SUMMARY", "evil")]);
        let evil = if trusted { installed(evil, false, PluginGrants::default()) } else { evil };
        let runtime = runtime(vec![nova(), evil], grants(), CallLimits::default());
        assert!(runtime.driver("evilnova").is_none());
        assert!(runtime.list().iter().all(|info| info.is_bundled), "{keyword}");
        let broken = runtime.load_errors().join("\n");
        assert!(broken.contains("evil.wasm is left out") && broken.contains("`nova`"), "{broken}");
        // The bundled one has what the operator wrote for it.
        assert!(got(&runtime, "nova", "reveal").await.starts_with("Ok"));
    }
    // With consent it replaces the bundled one, and the request for consent shows all that it gets.
    let heir = impostor("heir.wasm", &[("NAME", "nova"), ("KEYWORD", "nova"), ("SUMMARY", "heir")]);
    let runtime =
        runtime(vec![nova(), installed(heir, true, PluginGrants::default())], grants(), CallLimits::default());
    let explained = runtime.explain("nova").expect("it is there");
    for line in ["reveal: granted", "process: granted", "although it does not ask for it", "it sees the values"] {
        assert!(explained.contains(line), "{line}: {explained}");
    }
}

#[tokio::test]
async fn what_was_agreed_to_is_for_these_bytes() {
    let mine = |summary| impostor("mine.wasm", &[("NAME", "mine"), ("KEYWORD", "mine"), ("SUMMARY", summary)]);
    let agreed = granted("mine", &[Interface::Reveal], &[]).plugins["mine"].clone();
    let pinned = installed(mine("first"), false, agreed.clone());
    let first = runtime(vec![pinned.clone()], Grants::default(), CallLimits::default());
    assert!(got(&first, "mine", "reveal").await.starts_with("Ok"));
    // Other bytes under the same consent are refused, and beside it they get nothing of it.
    let swapped = PluginSource { consent: pinned.consent.clone(), ..mine("second") };
    let runtime_of = |plugins| runtime(plugins, Grants::default(), CallLimits::default());
    assert!(runtime_of(vec![swapped]).load_errors()[0].contains("has changed"));
    let other = impostor("other.wasm", &[("NAME", "mine"), ("KEYWORD", "mine"), ("SUMMARY", "other")]);
    let beside = runtime_of(vec![pinned, other]);
    assert_eq!(beside.list()[0].description.summary, "first");
    // A digest in the configuration binds a grant as well.
    let bound = |sha256: &str| {
        Grants::of([("mine".to_owned(), PluginGrants { sha256: Some(sha256.to_owned()), ..agreed.clone() })])
    };
    let digest = first.list()[0].digest.clone();
    let with = |grants| runtime(vec![mine("first")], grants, CallLimits::default());
    assert!(got(&with(bound(&digest)), "mine", "reveal").await.starts_with("Ok"));
    assert!(got(&with(bound(&"0".repeat(64))), "mine", "reveal").await.contains("not-granted"));
}

#[tokio::test]
async fn a_cached_token_is_for_one_plugin() {
    let one = |name: &str| impostor(&format!("{name}.wasm"), &[("NAME", name), ("KEYWORD", name)]);
    let runtime = runtime(vec![one("first"), one("second")], Grants::default(), CallLimits::default());
    got(&runtime, "first", "put:s3cr3t-token").await;
    assert!(got(&runtime, "first", "get").await.contains("s3cr3t-token"));
    assert_eq!(got(&runtime, "second", "get").await, "None");
}

#[test]
fn what_is_shown_can_not_be_forged() {
    let forged = "1.0\n  network: none\n  credentials: none\n\u{1b}[8m";
    for (field, text) in [
        ("VERSION", forged),
        ("NAME", "no\u{202e}va"),
        ("KEYWORD", "a\nb"),
        ("SUMMARY", "\u{1b}]0;title\u{7}"),
        ("NETWORK", "host\u{1b}[2J:1"),
        ("INTERFACES", "filesystem"),
        ("FILLABLE", "endpoint"),
        ("NAME", "webhook"),
    ] {
        let runtime =
            runtime(vec![impostor("forged.wasm", &[(field, text)])], Grants::default(), CallLimits::default());
        assert!(runtime.list().is_empty(), "{field}");
        let broken = runtime.load_errors().join("");
        assert!(broken.starts_with("forged.wasm does not describe itself"), "{broken}");
        assert!(!broken.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{broken:?}");
    }
}

#[tokio::test]
async fn announced_hosts_are_asked_for() {
    let fields = [("NAME", "mine"), ("KEYWORD", "mine"), ("NETWORK", "endpoint announced")];
    let explained =
        |grants| runtime(vec![impostor("mine.wasm", &fields)], grants, CallLimits::default()).explain("mine");
    let without = explained(Grants::default()).expect("it is there");
    assert!(
        without.contains("asks for hosts that this endpoint names") && without.contains("[\"announced\"]"),
        "{without}"
    );
    let with = explained(granted("mine", &[], &["announced"])).expect("it is there");
    assert!(with.contains("in its answers, without secrets (granted by the configuration)"), "{with}");
}

/// Credential source that records by what a driver's credential is chosen.
#[derive(Default)]
struct RecordingCredentials(Mutex<Vec<Value>>);

impl CredentialSource for RecordingCredentials {
    fn credential(&self, _: SectionKind, settings: &Value) -> Result<Option<Credential>, Fault> {
        self.0.lock().expect("no panic").push(settings.clone());
        let is_prod = settings.get("description") == Some(&json!("prod"));
        let fields = BTreeMap::from([("password".to_owned(), Secret::new("of-prod".to_owned()))]);
        Ok(is_prod.then(|| Credential { fields, tls: Tls::default(), rule: "auth_data.yaml:1".to_owned() }))
    }
}

#[tokio::test]
async fn no_credential_is_chosen_by_what_others_fill_in() {
    let recorded = Arc::new(RecordingCredentials::default());
    let plugins = vec![impostor("mine.wasm", &[])];
    let runtime = runtime_with(plugins, Grants::default(), CallLimits::default(), recorded.clone(), false);
    let section = json!({"type": "impostor", "do": "credential", "description": "prod"});
    let observed = create(&runtime, "impostor", &request(section, MINUTE)).await.expect("created");
    assert_eq!(observed.attributes[0].1, "None");
    let recorded = recorded.0.lock().expect("no panic");
    assert!(
        !recorded.is_empty() && recorded.iter().all(|settings| settings.get("description").is_none()),
        "{recorded:?}"
    );
    assert_eq!(runtime.open_decisions("impostor").fillable.into_iter().collect::<Vec<_>>(), ["description"]);
}

#[tokio::test]
async fn only_addresses_leave_a_driver() {
    let (logged, _guard) = CapturedLog::capture();
    let runtime = runtime(vec![impostor("mine.wasm", &[])], Grants::default(), CallLimits::default());
    let addresses = |endpoint: &'static str, given: Value| {
        let (runtime, section) = (&runtime, json!({"type": "impostor", "endpoint": endpoint, "addresses": given}));
        async move {
            let observed = create(runtime, "impostor", &request(section.clone(), MINUTE)).await.expect("created");
            let scope = CallScope { context: context(MINUTE), section: Arc::new(section) };
            let driver = runtime.driver("impostor").expect("a driver");
            let seen = driver.observe(&scope, &[observed.handle]).await.expect("observed");
            assert_eq!(seen[0].addresses, observed.addresses, "at every look");
            observed.addresses.into_iter().map(|address| address.value).collect::<Vec<_>>()
        }
    };
    let hostile = json!([
        "10.0.0.1; id > /tmp/x; #",
        "$(id)",
        "a\nb",
        "\u{1b}[2J",
        "",
        "127.1",
        "0x7f000001",
        "10.0.0.1:22",
        "[::1]",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "localhost",
        "a.localhost.",
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "10.0.0.1",
        "2001:db8::1",
        "db.example.org",
    ]);
    let remote = ["10.0.0.1", "2001:db8::1", "db.example.org"];
    assert_eq!(addresses("https://cloud.example.com:5000/v3", hostile.clone()).await, remote);
    assert_eq!(addresses("", hostile.clone()).await, remote);
    let here = addresses("http://localhost:5000", hostile.clone()).await;
    assert_eq!(here[..4], ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"]);
    assert!(!here.iter().any(|address| address.starts_with("169.254") || address.contains(' ')), "{here:?}");
    assert_eq!(addresses("unix:///run/x.sock", json!(["127.0.0.1", "fe80::1"])).await, ["127.0.0.1"]);
    assert_eq!(addresses("http://169.254.1.2", json!(["127.0.0.1", "169.254.1.9"])).await, ["169.254.1.9"]);
    let logged = logged.text();
    assert!(logged.contains("10.0.0.1; id") && !logged.contains('\u{1b}'), "{logged}");
    assert_eq!(logged.matches("the address `127.1` of a machine is left out").count(), 1, "told once: {logged}");
}

/// Checks a node at this address, and returns the details.
async fn health_check_details(address: &str, section: Value) -> Vec<(String, String)> {
    let runtime = runtime(vec![fixture("prober.wasm")], Grants::default(), CallLimits::default());
    let target = HealthTarget {
        context: context(MINUTE),
        section: Arc::new(section),
        addresses: vec![Address { value: address.to_owned(), internal: false }],
        node_name: "web".to_owned(),
        instance_id: "0b0e6b3c-0000-4000-8000-000000000001".to_owned(),
        template_data: json!({}),
    };
    let checker = runtime.health_checker("prober").expect("a checker");
    checker.check(&target).await.expect("checked").details
}

#[tokio::test]
async fn a_health_checker_reaches_the_node_alone() {
    let (target, reached) = listener().await;
    let port: u16 = target.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let seen = health_check_details("192.0.2.1", json!({"connect": target, "port": 1})).await;
    assert!(seen[1].1.contains("Err") && reached.load(Ordering::SeqCst) == 0, "{seen:?}");
    // A node that is on this machine, by the word of a driver that may say so.
    let seen = health_check_details("127.0.0.1", json!({"port": port})).await;
    assert_eq!(seen[0].1, "Ok(())", "{seen:?}");
}

fn context_request(section: Value, preview: bool) -> ContextRequest {
    let mut call = context(MINUTE);
    call.preview = preview;
    ContextRequest {
        context: call,
        section: Arc::new(section),
        resource: Arc::new(json!({"type": "cloud"})),
        template_data: json!({}),
        connections: json!([]),
        instances: Arc::default(),
    }
}

async fn rendered(renderers: &dyn Renderers, section: Value, preview: bool) -> (Rendered, String) {
    let contextualiser = renderers.contextualiser("redirector").expect("a contextualiser");
    let rendered = contextualiser.render(&context_request(section, preview)).await.expect("rendered");
    let got = String::from_utf8(rendered.user_data.clone().unwrap_or_default()).expect("text");
    (rendered, got)
}

#[tokio::test]
async fn previews_reach_nothing_whatever_is_granted() {
    let (target, reached) = listener().await;
    let grants = granted("redirector", &[], &[&target]);
    let runtime = runtime(vec![fixture("redirector.wasm")], grants, CallLimits::default());
    let section = json!({"connect": target});
    let offline = runtime.offline();
    let (_, got) = rendered(&*offline, section.clone(), true).await;
    assert!(got.contains("Err") && reached.load(Ordering::SeqCst) == 0, "{got}");
    let (_, got) = rendered(&*runtime, section, false).await;
    assert_eq!(got, "Ok(())", "at work it has what the operator grants");
}

#[tokio::test]
async fn template_data_reach_nothing() {
    let (target, reached) = listener().await;
    let (logged, _guard) = CapturedLog::capture();
    let grants = granted("talker", &[Interface::Reveal], &[&target]);
    let runtime = runtime(vec![fixture("talker.wasm")], grants, CallLimits::default());
    let offline = runtime.offline();
    for manager in [runtime.config_manager("talker"), offline.config_manager("talker")] {
        let section = json!({"type": "talker", "endpoint": format!("http://{target}/")});
        let scope = CallScope { context: context(MINUTE), section: Arc::new(section) };
        let data = manager.expect("a config manager").template_data(&scope).await.expect("variables");
        assert_eq!(data["talker"]["has_credential"], false);
        let (sent, connected) = (data["talker"]["sent"].to_string(), data["talker"]["connected"].to_string());
        assert!(!sent.contains("status") && connected.contains("Err"), "{data}");
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    let logged = logged.text();
    assert!(
        logged.contains("this call is made offline: it has no network, no credentials and no host interfaces"),
        "{logged}"
    );
    assert!(!logged.contains("To allow it"), "nothing would allow it: {logged}");
}

#[tokio::test]
async fn commands_of_templates_are_the_users() {
    let with = |source: PluginSource, grants| {
        let credentials = Arc::new(RecordingCredentials::default());
        runtime_with(vec![source], grants, CallLimits::default(), credentials, true)
    };
    let section = json!({"run": "echo ran"});
    let foreign = with(fixture("redirector.wasm"), Grants::default());
    for preview in [false, true] {
        let (_, got) = rendered(&*foreign, section.clone(), preview).await;
        assert!(got.contains("not-granted") && got.contains("interfaces: [process]"), "{got}");
    }
    for runtime in [
        with(bundled(fixture("redirector.wasm")), Grants::default()),
        with(fixture("redirector.wasm"), granted("redirector", &[Interface::Process], &[])),
    ] {
        let (_, got) = rendered(&*runtime, section.clone(), false).await;
        assert!(got.contains("ran"), "{got}");
        let (_, got) = rendered(&*runtime.offline(), section.clone(), true).await;
        assert!(got.contains("output-of-a-command"), "{got}");
    }
}
