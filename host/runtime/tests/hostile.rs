//! Tests of a compiled driver that tries to leave the sandbox (`tests/fixtures/src/hostile`).

mod common;

use std::time::{Duration, Instant};

use common::{CapturedLog, PASSWORD, create, fixture, request, runtime};
use occopus_engine::ports::{Fault, Plugins as _, Reaction};
use occopus_runtime::CallLimits;
use occopus_runtime::grants::{Grants, Interface, NetworkTarget, PluginGrants};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Returns small limits, so that the tests are quick.
fn limits() -> CallLimits {
    CallLimits { compute_ms: 300, memory_bytes: 32 << 20, ..CallLimits::default() }
}

fn granted(network: &[String]) -> Grants {
    let network = network.iter().map(|target| target.parse::<NetworkTarget>().expect("a target")).collect();
    let plugin = PluginGrants { network, interfaces: [Interface::Icmp].into(), sha256: None };
    Grants::of([("hostile".to_owned(), plugin)])
}

/// Calls the plugin, which tries this with these grants, and returns what it got.
async fn attempt(deed: &str, grants: Grants) -> Result<String, Fault> {
    let runtime = runtime(vec![fixture("hostile.wasm")], grants, limits());
    let request = request(json!({"type": "hostile", "do": deed}), Duration::from_secs(20));
    let observed = create(&runtime, "hostile", &request).await?;
    Ok(observed.attributes.into_iter().find(|(name, _)| name == "got").expect("what it got").1)
}

async fn got(deed: &str) -> String {
    attempt(deed, Grants::default()).await.unwrap_or_else(|fault| panic!("{deed}: {fault:?}"))
}

async fn fault(deed: &str) -> Fault {
    let began = Instant::now();
    let fault = attempt(deed, Grants::default()).await.expect_err(deed);
    assert!(began.elapsed() < Duration::from_secs(15), "{deed} went on for {:?}", began.elapsed());
    fault
}

#[tokio::test]
async fn sees_neither_environment_nor_files() {
    assert_eq!(got("env").await, "[]");
    let files = got("files").await;
    assert_eq!(files.matches("Err(").count(), 4, "{files}");
    assert!(!std::path::Path::new("/tmp/hostile").exists());
}

/// Starts a server that answers every request with the request itself, and counts them.
async fn echo_server() -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    delayed_echo_server(Duration::ZERO).await
}

/// Starts a server that does so after a while.
async fn delayed_echo_server(pause: Duration) -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let reached = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&reached);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read_buf(&mut head).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            tokio::time::sleep(pause).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", head.len());
            let _ = stream.write_all(&[answer.as_bytes(), &head].concat()).await;
        }
    });
    (port, reached)
}

#[tokio::test]
async fn reaches_no_host_that_was_not_granted() {
    let (logged, _guard) = CapturedLog::capture();
    let (port, reached) = echo_server().await;
    let targets = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        "169.254.169.254:80".to_owned(),
        "[::ffff:169.254.169.254]:80".to_owned(),
        "[fd00:ec2::254]:80".to_owned(),
    ];
    for target in &targets {
        for deed in [format!("connect:{target}"), format!("http:http://{target}/")] {
            let got = got(&deed).await;
            assert!(!got.contains("connected") && !got.contains("status"), "{deed}: {got}");
        }
    }
    assert_eq!(reached.load(std::sync::atomic::Ordering::SeqCst), 0);
    let logged = logged.text();
    assert!(logged.contains("plugin `hostile` asked for"), "{logged}");
    assert!(logged.contains(&format!("plugins:\n  hostile:\n    network: [\"127.0.0.1:{port}\"]")), "{logged}");
}

#[tokio::test]
async fn reaches_what_was_granted_and_nothing_beside_it() {
    let (port, reached) = echo_server().await;
    let (other, other_reached) = echo_server().await;
    let grants = granted(&[format!("127.0.0.1:{port}")]);
    let connected = attempt(&format!("connect:127.0.0.1:{port}"), grants.clone()).await.expect("an answer");
    assert!(connected.contains("connected"), "{connected}");
    let answered = attempt(&format!("http:http://127.0.0.1:{port}/"), grants.clone()).await.expect("an answer");
    assert!(answered.contains("status 200"), "{answered}");
    assert_eq!(reached.load(std::sync::atomic::Ordering::SeqCst), 2);
    for deed in [format!("connect:127.0.0.1:{other}"), format!("http:http://127.0.0.1:{other}/")] {
        attempt(&deed, grants.clone()).await.expect("an answer");
    }
    assert_eq!(other_reached.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_metadata_address_is_not_granted_by_a_wildcard() {
    let grants = granted(&["*:*".to_owned()]);
    for deed in ["connect:169.254.169.254:80", "http:http://169.254.169.254/", "connect:[::ffff:169.254.169.254]:80"] {
        let got = attempt(deed, grants.clone()).await.expect("an answer");
        let refused = ["prohibit", "denied", "permission", "invalid argument"];
        assert!(refused.iter().any(|word| got.to_lowercase().contains(word)), "{deed}: {got}");
    }
}

#[tokio::test]
async fn never_holds_its_secret() {
    let (logged, _guard) = CapturedLog::capture();
    let seen = got("secret").await;
    assert!(seen.contains("password"), "it knows the names of the fields: {seen}");
    assert!(!seen.contains(PASSWORD) && seen.contains("public=None"), "{seen}");

    // A server that sends the secret back: the server gets it, the plugin's answer and the logs do not.
    let (port, reached) = echo_server().await;
    let target = format!("127.0.0.1:{port}");
    let answered = attempt(&format!("send-secret:http://{target}/"), granted(&[target])).await.expect("an answer");
    assert!(answered.contains("x-password: ***"), "{answered}");
    assert_eq!(reached.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(!logged.text().contains(PASSWORD), "{}", logged.text());
}

#[tokio::test]
async fn finds_no_leftovers_of_another_call() {
    let runtime = runtime(vec![fixture("hostile.wasm")], Grants::default(), limits());
    for _ in 0..3 {
        let request = request(json!({"type": "hostile", "do": "leftover"}), Duration::from_secs(20));
        let observed = create(&runtime, "hostile", &request).await.expect("created");
        assert_eq!(observed.attributes[0].1, "0");
    }
}

#[tokio::test]
async fn an_endless_loop_is_ended_and_has_done_nothing() {
    let fault = fault("loop").await;
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "occopus.plugin-compute"));
    assert!(fault.message.contains("`hostile`") && fault.message.contains("300 ms"), "{}", fault.message);
}

#[tokio::test]
async fn an_endless_loop_holds_up_nobody_else() {
    let limits = CallLimits { compute_ms: 5_000, ..limits() };
    let runtime = runtime(vec![fixture("hostile.wasm")], Grants::default(), limits);
    let looping = request(json!({"type": "hostile", "do": "loop"}), Duration::from_secs(20));
    let quick = request(json!({"type": "hostile", "do": "leftover"}), Duration::from_secs(20));
    create(&runtime, "hostile", &quick).await.expect("compiled");
    // Both on this one thread.
    tokio::select! {
        biased;
        ended = create(&runtime, "hostile", &looping) => panic!("the other one had to wait for its end: {ended:?}"),
        created = create(&runtime, "hostile", &quick) => drop(created.expect("created")),
    }
}

#[tokio::test]
async fn memory_without_end_is_refused() {
    let fault = fault("alloc").await;
    assert_eq!(fault.reaction, Reaction::Retry);
    assert_eq!(fault.code, "occopus.plugin-memory", "{fault:?}");
    assert!(fault.message.contains("32 MiB"), "{}", fault.message);
}

#[tokio::test]
async fn a_trap_is_a_fault() {
    let fault = fault("trap").await;
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "occopus.plugin-trapped"));
}

#[tokio::test]
async fn recursion_without_end_is_a_fault() {
    let fault = fault("deep-recursion").await;
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "occopus.plugin-stack"));
}

#[tokio::test]
async fn handles_without_end_are_refused() {
    let fault = fault("handles").await;
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "occopus.plugin-handles"));
    assert!(fault.message.contains("`hostile`") && fault.message.contains("1000 handles"), "{}", fault.message);
}

/// Sends each request with its own time-outs, as clients do.
#[tokio::test]
async fn a_call_may_send_thousands_of_requests() {
    const REQUESTS: usize = 5_000;
    let (port, reached) = echo_server().await;
    let target = format!("127.0.0.1:{port}");
    let limits = CallLimits { memory_bytes: 32 << 20, ..CallLimits::default() };
    let runtime = runtime(vec![fixture("hostile.wasm")], granted(std::slice::from_ref(&target)), limits);
    let deed = json!({"type": "hostile", "do": format!("requests:{REQUESTS} http://{target}/")});
    let observed = create(&runtime, "hostile", &request(deed, Duration::from_secs(120))).await.expect("an answer");
    assert_eq!(observed.attributes[0].1, format!("{REQUESTS} answered"));
    assert_eq!(reached.load(std::sync::atomic::Ordering::SeqCst), REQUESTS);
}

/// Waits for a server at each of many requests, which is not compute time.
#[tokio::test]
async fn waiting_is_no_computing() {
    let (port, _) = delayed_echo_server(Duration::from_millis(15)).await;
    // Less than the time of waiting, and more than what a busy machine makes of so many requests.
    let limits = CallLimits { compute_ms: 3_000, ..limits() };
    let target = format!("127.0.0.1:{port}");
    let runtime = runtime(vec![fixture("hostile.wasm")], granted(std::slice::from_ref(&target)), limits);
    let deed = json!({"type": "hostile", "do": format!("requests:400 http://{target}/")});
    let observed = create(&runtime, "hostile", &request(deed, Duration::from_secs(120))).await.expect("an answer");
    assert_eq!(observed.attributes[0].1, "400 answered");
}

#[tokio::test]
async fn a_call_that_never_answers_is_ended_at_its_deadline() {
    let runtime = runtime(vec![fixture("hostile.wasm")], Grants::default(), limits());
    let request = request(json!({"type": "hostile", "do": "sleep"}), Duration::from_secs(1));
    let began = Instant::now();
    let fault = create(&runtime, "hostile", &request).await.expect_err("too late");
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "occopus.plugin-timeout"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_off() {
    let (logged, _guard) = CapturedLog::capture();
    got("log-flood").await;
    let text = logged.text();
    assert!(text.len() < 4 * limits().log_bytes, "{} bytes", text.len());
    assert!(text.contains("logs too much") && text.contains("plugin=hostile") && text.contains("node=the-node"));
}

#[tokio::test]
async fn a_flood_on_standard_output_is_cut_off() {
    let (logged, _guard) = CapturedLog::capture();
    let _ = attempt("print-flood", Grants::default()).await;
    assert!(logged.text().len() < 4 * limits().log_bytes, "{} bytes", logged.text().len());
}

#[tokio::test]
async fn a_plugin_can_be_called_from_many_tasks_at_once() {
    let runtime = runtime(vec![fixture("hostile.wasm")], Grants::default(), limits());
    let driver = runtime.driver("hostile").expect("a driver");
    let calls = (0..1_000).map(|_| {
        let driver = std::sync::Arc::clone(&driver);
        tokio::spawn(async move {
            driver.create(&request(json!({"type": "hostile", "do": "env"}), Duration::from_secs(60))).await
        })
    });
    for call in futures::future::join_all(calls).await {
        call.expect("no panic").expect("created");
    }
}
