//! Tests of the hostile driver (`tests/fixtures/src/hostile`), which goes after the value of its credential, and after
//! the host's time and memory.

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{CapturedLog, PASSWORD, context, create, fixture, request, runtime};
use occopus_engine::ports::{CallScope, Fault, ObservedMachine, Plugins as _, Reaction};
use occopus_runtime::CallLimits;
use occopus_runtime::grants::{Grants, Interface, PluginGrants};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn limits() -> CallLimits {
    CallLimits { compute_ms: 1_000, memory_bytes: 64 << 20, ..CallLimits::default() }
}

fn granted(network: &[&str], interfaces: &[Interface]) -> Grants {
    let network = network.iter().map(|target| target.parse().expect("a target")).collect();
    let plugin = PluginGrants { network, interfaces: interfaces.iter().copied().collect(), sha256: None };
    Grants::of([("hostile".to_owned(), plugin)])
}

async fn attempt(deed: &str, grants: Grants, limits: CallLimits) -> Result<ObservedMachine, Fault> {
    let runtime = runtime(vec![fixture("hostile.wasm")], grants, limits);
    let request = request(json!({"type": "hostile", "do": deed}), Duration::from_secs(30));
    create(&runtime, "hostile", &request).await
}

fn got(observed: &ObservedMachine) -> &str {
    observed.attributes.iter().find(|(name, _)| name == "got").map_or("", |(_, value)| value)
}

/// Returns lines that the program logs itself. (Wasmtime traces every call of WASI, with what the plugin gave to it.)
fn own_log_lines(logged: &CapturedLog) -> String {
    logged.text().lines().filter(|line| !line.contains("wit-bindgen import")).collect::<Vec<_>>().join("\n")
}

/// Reverses the driver's disguise.
fn unscrambled(text: &str) -> String {
    text.chars()
        .map(
            |letter| {
                if letter.is_ascii_graphic() || letter == '\u{7f}' { char::from(letter as u8 ^ 1) } else { letter }
            },
        )
        .collect()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Returns the whole of an answer that repeats a text.
fn answer_repeating(kind: &str, text: &str) -> Vec<u8> {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let chunked = |chunks: &[&str], trailer: &str| {
        let chunks: String = chunks.iter().map(|text| chunk(text)).collect();
        let head = "HTTP/1.1 200 OK\r\ntrailer: x-end\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        format!("{head}{chunks}0\r\n{trailer}\r\n")
    };
    let (first, second) = text.split_at(text.len() / 2);
    let plain = |headers: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    let whole = match kind {
        "body" => plain("", text),
        "json" => plain("", &json!({"labels": {"a": text}}).to_string()),
        "header" => plain(&format!("x-echo: {text}\r\n"), ""),
        "header-name" => plain(&format!("x-{text}: 1\r\n"), ""),
        "two-headers" => plain(&format!("x-a: {first}\r\nx-b: {second}\r\n"), ""),
        "letters" => {
            let headers: String =
                text.chars().enumerate().map(|(number, letter)| format!("x-{number:03}: {letter}\r\n")).collect();
            plain(&headers, "")
        }
        "upper" => plain("", &text.to_uppercase()),
        "lower" => plain("", &text.to_lowercase()),
        "reversed" => plain("", &text.chars().rev().collect::<String>()),
        "base64" => plain("", &STANDARD.encode(format!("user:{text}"))),
        "percent" => plain("", &percent(text)),
        "percent-twice" => plain("", &percent(text).replace('%', "%25")),
        "unicode" => plain("", &text.bytes().map(|byte| format!("\\u{byte:04x}")).collect::<String>()),
        "entities" => plain("", &text.bytes().map(|byte| format!("&#{byte};")).collect::<String>()),
        "hex" => plain("", &text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>()),
        "spaced" => plain("", &text.chars().flat_map(|letter| [letter, ' ']).collect::<String>()),
        "chunked" => chunked(
            &text
                .chars()
                .map(|letter| letter.to_string())
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
            "",
        ),
        "trailer" => chunked(&["nothing"], &format!("x-end: {text}\r\n")),
        "body-and-trailer" => chunked(&[first], &format!("x-end: {second}\r\n")),
        "header-and-trailer" => chunked(&["nothing"], &format!("x-end: {second}\r\n")).replacen(
            "trailer:",
            &format!("x-a: {first}\r\ntrailer:"),
            1,
        ),
        "error" => plain("", text).replace("200 OK", "403 Forbidden"),
        "gzip" => plain("content-encoding: gzip\r\n", text),
        _ => plain("", "what?"),
    };
    whole.into_bytes()
}

/// Starts a server that stores the body of the first request, and repeats it in each answer as the request demands.
async fn repeating_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    let known = Arc::new(Mutex::new(None::<String>));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let length = |head: &str| {
                    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
                    line.parse::<usize>().ok()
                };
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && body.len() >= length(head).unwrap_or(0)
                {
                    break (head.to_owned(), body.to_owned());
                }
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    break (text, String::new());
                }
            };
            assert!(!head.contains("accept-encoding"), "{head}");
            let kind = head.lines().find_map(|line| line.strip_prefix("x-repeat: ")).unwrap_or("").to_owned();
            let text = {
                let mut known = known.lock().expect("no panic");
                if body.contains(PASSWORD) {
                    *known = Some(body);
                }
                known.clone().unwrap_or_default()
            };
            let _ = stream.write_all(&answer_repeating(&kind, &text)).await;
        }
    });
    target
}

const REPEAT_KINDS: [&str; 19] = [
    "body",
    "json",
    "header",
    "header-name",
    "two-headers",
    "letters",
    "upper",
    "lower",
    "reversed",
    "base64",
    "percent",
    "percent-twice",
    "unicode",
    "entities",
    "hex",
    "spaced",
    "chunked",
    "trailer",
    "error",
];

#[tokio::test]
async fn reads_no_secret_in_an_answer() {
    let (logged, _guard) = CapturedLog::capture();
    let target = repeating_server().await;
    let grants = granted(&[&target], &[]);
    for kind in REPEAT_KINDS.into_iter().chain(["body-and-trailer", "header-and-trailer"]) {
        // The second call sends nothing, and requests no placeholder.
        for dash in ["", "-"] {
            let deed = format!("smuggle:{kind}{dash} http://{target}/");
            let observed =
                attempt(&deed, grants.clone(), limits()).await.unwrap_or_else(|fault| panic!("{deed}: {fault:?}"));
            let seen = unscrambled(got(&observed));
            assert!(!seen.contains("what?") && !seen.contains("Error"), "{deed}: {seen}");
            let read = seen.to_lowercase();
            for piece in ["correct", "battery", "yrettab", &percent("battery"), "636f7272", "Y29ycmVj"] {
                assert!(!read.contains(&piece.to_lowercase()), "{deed}: {piece} in {seen}");
            }
            // Halves of a value that no search puts together again; what is left of them is not the value.
            if kind != "header-and-trailer" && kind != "trailer" && kind != "header-name" {
                assert!(seen.matches('*').count() >= 10, "{deed}: {seen}");
            }
        }
    }
    let logged = own_log_lines(&logged);
    let reports: Vec<&str> =
        logged.lines().filter(|line| line.contains("a server repeated a value of the credential")).collect();
    // Once for each call.
    assert!((30..=2 * (REPEAT_KINDS.len() + 2)).contains(&reports.len()), "{} times: {logged}", reports.len());
    assert!(reports.iter().all(|line| line.contains("plugin=hostile") && line.contains("node=")), "{reports:?}");
}

#[tokio::test]
async fn reads_no_answer_that_can_not_be_searched() {
    let target = repeating_server().await;
    let observed = attempt(&format!("smuggle:gzip http://{target}/"), granted(&[&target], &[]), limits()).await;
    let seen = unscrambled(got(&observed.expect("an answer")));
    assert!(seen.contains("compressed") && !seen.contains("battery"), "{seen}");
}

#[tokio::test]
async fn says_its_secret_nowhere() {
    let (logged, _guard) = CapturedLog::capture();
    let grants = granted(&[], &[Interface::Reveal]);
    let observed = attempt("say", grants.clone(), limits()).await.expect("a machine");
    let fault = attempt("say-fault", grants.clone(), limits()).await.expect_err("a fault");
    assert_eq!(observed.handle.data, "machine ***");
    let reports = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&reports);
    let runtime = runtime(vec![fixture("hostile.wasm")], grants, limits());
    let mut elsewhere = request(json!({"type": "hostile", "do": "say-elsewhere"}), Duration::from_secs(20));
    elsewhere.scope.context.progress = Some(Arc::new(move |phase: &str, detail: Option<&str>| {
        recorder.lock().expect("no panic").push(format!("{phase} {detail:?}"));
    }));
    let last = create(&runtime, "hostile", &elsewhere).await;
    let reports = reports.lock().expect("no panic").clone();
    assert_eq!(reports, ["*** Some(\"***\")"]);
    let all = format!("{observed:?} {fault:?} {last:?} {reports:?} {}", own_log_lines(&logged)).to_lowercase();
    assert!(all.contains("plugin `hostile` asked for") && all.contains("example.com"), "{all}");
    let backwards: String = PASSWORD.chars().rev().collect();
    assert!(!all.contains(PASSWORD) && !all.contains(&backwards), "{all}");
}

#[tokio::test]
async fn gets_signatures_and_no_keys() {
    for deed in ["aws-key", "digest-key"] {
        let fault = attempt(deed, Grants::default(), limits()).await.expect_err(deed);
        assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::GiveUp, "host.key-refused"), "{fault:?}");
        assert!(fault.message.contains("`hostile`") && fault.message.contains("aws-sign"), "{}", fault.message);
    }
    let (logged, _guard) = CapturedLog::capture();
    let grants = granted(&["cloud.example.com:443"], &[]);
    let sign =
        async |url: &str| attempt(&format!("aws-sign:{url}"), grants.clone(), limits()).await.expect("an answer");
    let signed = sign("https://cloud.example.com/a?b=1").await;
    assert!(got(&signed).starts_with("signed 2"), "{signed:?}");
    assert!(got(&signed).contains("/eu-west-1/ec2/aws4_request content-type;host;x-amz-date "), "{signed:?}");
    for (url, code) in [
        ("https://sts.example.com/", "host.not-granted"),
        ("https://cloud.example.com:8443/", "host.not-granted"),
        ("https://cloud.example.com/?X-Amz-Expires=604800", "host.aws-request"),
        ("https://cloud.example.com/?a=1&%58-amz-Signature=x", "host.aws-request"),
        ("https://cloud.example.com/%0a\nhost:sts", "host.aws-request"),
        ("nothing", "host.not-granted"),
    ] {
        assert_eq!(got(&sign(url).await), format!("refused {code}"), "{url}");
    }
    assert!(logged.text().contains("sts.example.com:443"), "{}", logged.text());
}

/// Computes for a plugin in the plugin's own time, while other tasks run.
#[tokio::test]
async fn long_work_of_the_host_is_in_the_plugins_budget() {
    let runtime = runtime(vec![fixture("hostile.wasm")], Grants::default(), limits());
    let quick = request(json!({"type": "hostile", "do": "leftover"}), Duration::from_secs(20));
    create(&runtime, "hostile", &quick).await.expect("compiled");
    let long = request(json!({"type": "hostile", "do": "hmac:1000000"}), Duration::from_secs(60));
    let began = Instant::now();
    let turns = async {
        let mut longest = Duration::ZERO;
        loop {
            let waiting = Instant::now();
            tokio::time::sleep(Duration::from_millis(5)).await;
            longest = longest.max(waiting.elapsed());
            if began.elapsed() > Duration::from_secs(20) {
                return longest;
            }
        }
    };
    tokio::select! {
        ended = create(&runtime, "hostile", &long) => {
            let fault = ended.expect_err("it took too long");
            assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "occopus.plugin-compute"), "{fault:?}");
        }
        longest = turns => panic!("it goes on; others waited for {longest:?}"),
    }
}

#[tokio::test]
async fn all_that_it_tells_is_in_one_budget() {
    for deed in ["progress-flood", "lookup-flood", "warn-flood"] {
        let (logged, _guard) = CapturedLog::capture();
        let reports = Arc::new(Mutex::new((0, 0)));
        let recorder = Arc::clone(&reports);
        let runtime =
            runtime(vec![fixture("hostile.wasm")], Grants::default(), CallLimits { compute_ms: 20_000, ..limits() });
        let mut flood = request(json!({"type": "hostile", "do": deed}), Duration::from_secs(60));
        flood.scope.context.progress = Some(Arc::new(move |phase: &str, _: Option<&str>| {
            let mut reports = recorder.lock().expect("no panic");
            reports.0 += 1;
            reports.1 += phase.len();
        }));
        create(&runtime, "hostile", &flood).await.unwrap_or_else(|fault| panic!("{deed}: {fault:?}"));
        let reports = *reports.lock().expect("no panic");
        assert!(reports.0 <= 3_000 && reports.1 <= limits().log_bytes, "{deed}: {reports:?}");
        let logged = own_log_lines(&logged);
        assert!(logged.len() < 4 * limits().log_bytes, "{deed}: {} bytes", logged.len());
    }
}

#[tokio::test]
async fn bodies_without_end_fill_no_memory() {
    // Takes connections, and reads nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let limits = CallLimits { compute_ms: 20_000, held_body_bytes: 8 << 20, ..limits() };
    let observed =
        attempt(&format!("bodies:16 2 {target}"), granted(&[&target], &[]), limits).await.expect("an answer");
    // As many as there is room for; the others fail since nobody reads them any more.
    let (written, last) = got(&observed).split_once(' ').expect("two words");
    let written: u64 = written.parse().expect("a number");
    assert!((2..32).contains(&written) && last.contains("Closed"), "{observed:?}");
}

#[tokio::test]
async fn a_full_cache_is_its_own() {
    let runtime =
        runtime(vec![fixture("hostile.wasm")], Grants::default(), CallLimits { compute_ms: 10_000, ..limits() });
    let deed = |deed: &str| request(json!({"type": "hostile", "do": deed}), Duration::from_secs(30));
    create(&runtime, "hostile", &deed("cache-flood")).await.expect("kept what there is room for");
    let observed = create(&runtime, "hostile", &deed("cache-put:new")).await.expect("an answer");
    assert!(got(&observed).starts_with("Some"), "what is full makes room: {observed:?}");
}

#[tokio::test]
async fn what_is_stored_of_an_answer_is_bounded() {
    let attempt = async |deed: &str| attempt(deed, Grants::default(), limits()).await;
    assert_eq!(attempt("handle:4096").await.expect("a machine").handle.data.len(), 4096);
    let fault = attempt("handle:4097").await.expect_err("too long");
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::UnknownOutcome, "occopus.bad-answer"));
    assert!(fault.message.contains("4097 bytes"), "{}", fault.message);
    let much = attempt("much").await.expect("a machine");
    let attributes: usize = much.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(much.addresses.len() == 64 && much.attributes.len() <= 256 && attributes <= 64 << 10);
    assert!(much.message.expect("a message").len() <= (4 << 10) + 3);
    let fault = attempt("wait-for-ever").await.expect_err("a fault");
    // The engine bounds it.
    assert_eq!(fault.retry_after, Some(Duration::from_millis(u64::MAX)));
}

/// Observes a machine under another handle than it gave.
#[tokio::test]
async fn what_it_says_of_machines_is_redacted_when_it_only_looks() {
    let runtime = runtime(vec![fixture("hostile.wasm")], Grants::default(), limits());
    let driver = runtime.driver("hostile").expect("a driver");
    let scope = CallScope {
        context: context(Duration::from_secs(20)),
        section: Arc::new(json!({"type": "hostile", "do": "env"})),
    };
    let handle = occopus_engine::ports::Handle { version: 1, data: format!("x{PASSWORD}x") };
    let observed = driver.observe(&scope, &[handle]).await.expect("an answer");
    assert_eq!(observed[0].handle.data, "x***x");
}
