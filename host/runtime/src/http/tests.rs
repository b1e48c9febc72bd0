//! Tests with real servers on this machine: what they receive, and how failures are reported.

mod proxies;
mod server;
mod trust;

use std::collections::BTreeSet;

use http::StatusCode;
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use zeroize::Zeroizing;

use super::*;
use crate::grants::{GrantSubject, Grants, PluginGrants};
use crate::secrets::Encoding;
use server::{EchoedRequest, SCRAMBLE, Server};

const LIMITS: HttpLimits = HttpLimits {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(5),
    between_bytes: Duration::from_secs(5),
    request_body: 1 << 20,
    response_body: 1 << 20,
};

fn call_grants(needs: &str, endpoint: &str, nodes: &[&str], granted: &[&str]) -> CallGrants {
    let operator: PluginGrants = serde_json::from_value(serde_json::json!({"network": granted})).unwrap();
    Grants::default().for_call(&GrantSubject {
        plugin: "test",
        operator: Some(&operator),
        needs_network: &[needs.to_owned()],
        endpoints: &[endpoint.to_owned()],
        node_addresses: &nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>(),
        ..GrantSubject::default()
    })
}

fn endpoint_grants(url: &str) -> CallGrants {
    call_grants("endpoint", url, &[], &[])
}

fn secrets() -> CallSecrets {
    CallSecrets::new([("key".to_owned(), Zeroizing::new("s3cr\"t/value".to_owned()))], BTreeSet::new())
}

fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}

fn post(url: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::new(body.into())).unwrap()
}

async fn echoed(response: Response<ResponseBody>) -> EchoedRequest {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

async fn failure_of(url: &str, limits: &HttpLimits) -> HttpError {
    let response = HttpClient::new().send(post(url, "x"), &endpoint_grants(url), None, limits).await;
    match response {
        Err(error) => error,
        Ok(response) => response.into_body().collect().await.unwrap_err(),
    }
}

/// Waits until a connection has come back: it does as soon as its task has run.
async fn wait_until_idle(pool: &Pool) {
    let waiting = async {
        while pool.idle_count() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("a connection comes back");
}

#[tokio::test]
async fn requests_share_a_connection() {
    let server = Server::start().await;
    let (client, grants) = (HttpClient::new(), endpoint_grants(&server.url("")));
    for number in 0..5 {
        let path = format!("/a/b?number={number}");
        let request = echoed(client.send(get(&server.url(&path)), &grants, None, &LIMITS).await.unwrap()).await;
        assert_eq!(request.path, path);
        assert_eq!(request.headers["host"], server.url("").trim_start_matches("http://"));
        wait_until_idle(&client.pool).await;
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_body_has_its_length_and_the_server_sees_no_header_of_the_connection() {
    let server = Server::start().await;
    let mut request = post(&server.url("/"), "hello");
    for (name, value) in [
        ("host", "evil"),
        ("connection", "x-mine"),
        ("x-mine", "1"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("x-kept", "1"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let request =
        echoed(HttpClient::new().send(request, &endpoint_grants(&server.url("")), None, &LIMITS).await.unwrap()).await;
    let names: BTreeSet<&str> = request.headers.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["content-length", "host", "x-kept"]));
    assert_eq!((request.headers["content-length"].as_str(), request.body.as_str()), ("5", "hello"));
    assert_ne!(request.headers["host"], "evil");
}

#[tokio::test]
async fn a_request_that_could_smuggle_another_is_refused() {
    let server = Server::start().await;
    let grants = endpoint_grants(&server.url(""));
    for lengths in [["5", "6"], ["+5", "5"], ["x", "x"]] {
        let mut request = post(&server.url("/"), "hello");
        for length in lengths {
            request.headers_mut().append("content-length", length.parse().unwrap());
        }
        let error = HttpClient::new().send(request, &grants, None, &LIMITS).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (HttpErrorKind::InvalidRequest, RequestSent::No));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_is_not_granted_is_not_connected() {
    let server = Server::start().await;
    let (client, grants) = (HttpClient::new(), endpoint_grants("http://cloud.invalid"));
    let error = client.send(get(&server.url("/")), &grants, None, &LIMITS).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::NotGranted, RequestSent::No));
    assert!(error.message.contains("plugins:\n  test:\n    network: [\"127.0.0.1:"), "{error}");
    let error = client.send(get("http://169.254.169.254/latest"), &grants, None, &LIMITS).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::NotGranted);
    for url in ["ftp://cloud.invalid/", "http://me:secret@cloud.invalid/", "/only/a/path"] {
        let error = client.send(get(url), &grants, None, &LIMITS).await.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::InvalidRequest, "{url}");
        assert!(!error.message.contains("secret"));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_kept_connection_serves_only_calls_that_may_use_its_address() {
    let server = Server::start().await;
    let pool = Pool::default();
    let here = call_grants("endpoint", "", &[], &[&format!("127.0.0.1:{}", server.port())]);
    let route = Route::of(&server.url("/").parse().unwrap(), &here).unwrap();
    let connection = Connector::default().connect(&route, &here, LIMITS.connect).await.unwrap();
    // As if the name had resolved to this machine when the connection was made.
    let named = Route::Host { tls: false, host: "cloud.internal".into(), port: server.port(), identity: None };
    pool.put_when_ready(named.clone(), connection);
    wait_until_idle(&pool).await;
    let url = format!("http://cloud.internal:{}", server.port());
    assert!(pool.take(&named, &endpoint_grants(&url)).is_none());
    let both = call_grants("endpoint", &url, &[], &[&format!("127.0.0.1:{}", server.port())]);
    assert!(pool.take(&named, &both).is_some());
    assert!(pool.take(&named, &both).is_none());
}

#[tokio::test]
async fn placeholders_are_filled_in_headers_queries_and_bodies() {
    let server = Server::start().await;
    let (grants, secrets) = (endpoint_grants(&server.url("")), secrets());
    let plain = secrets.placeholder("key", Encoding::Plain).unwrap();
    let json = secrets.placeholder("key", Encoding::Json).unwrap();
    let percent = secrets.placeholder("key", Encoding::Percent).unwrap();
    let mut request = post(&server.url(&format!("/x?key={percent}")), format!("{{\"key\":\"{json}\"}}"));
    request.headers_mut().insert("x-auth", plain.parse().unwrap());
    request.headers_mut().insert("content-length", "999".parse().unwrap());
    request.headers_mut().insert(SCRAMBLE, "1".parse().unwrap());
    let answer = HttpClient::new().send(request, &grants, Some(&secrets), &LIMITS).await.unwrap();
    let scrambled = answer.into_body().collect().await.unwrap().to_bytes();
    let plain: Vec<u8> = scrambled.iter().map(|byte| byte ^ 1).collect();
    let request: EchoedRequest = serde_json::from_slice(&plain).unwrap();
    assert_eq!(request.path, "/x?key=s3cr%22t%2Fvalue");
    assert_eq!(request.headers["x-auth"], "s3cr\"t/value");
    assert_eq!(request.body, r#"{"key":"s3cr\"t/value"}"#);
    assert_eq!(request.headers["content-length"], request.body.len().to_string());
}

#[tokio::test]
async fn what_a_server_repeats_is_masked_in_its_length() {
    let server = Server::start().await;
    let (grants, secrets) = (endpoint_grants(&server.url("")), secrets());
    let plain = secrets.placeholder("key", Encoding::Plain).unwrap();
    let json = secrets.placeholder("key", Encoding::Json).unwrap();
    let mut request = post(&server.url("/x"), format!("{{\"key\":\"{json}\"}}"));
    request.headers_mut().insert("x-auth", plain.parse().unwrap());
    request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    request.headers_mut().insert("range", "bytes=0-3".parse().unwrap());
    let answer = HttpClient::new().send(request, &grants, Some(&secrets), &LIMITS).await.unwrap();
    let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), length);
    let request: EchoedRequest = serde_json::from_slice(&body).unwrap();
    // As JSON within JSON, each with its own backslashes.
    assert_eq!(request.headers["x-auth"], "*".repeat(13));
    assert_eq!(request.body, format!("{{\"key\":\"{}\"}}", "*".repeat(15)));
    assert!(!request.headers.contains_key("accept-encoding") && !request.headers.contains_key("range"));
    // A later call, without a placeholder, reads no more of it.
    let later = super::tests::secrets();
    let answer = HttpClient::new().send(post(&server.url("/x"), "S3CR\"T/VALUE"), &grants, Some(&later), &LIMITS).await;
    assert_eq!(echoed(answer.unwrap()).await.body, "*".repeat(13));
}

#[tokio::test]
async fn bodies_that_are_taken_in_need_memory() {
    let server = Server::start().await;
    let grants = endpoint_grants(&server.url(""));
    let memory = CallBodyMemory::new(&BodyMemoryPool::new(1 << 20), 1 << 20);
    let send = async |size: usize| {
        // The body has no declared length, so that it is read first.
        let frames = futures::stream::iter(
            (0..size / 1024).map(|_| Ok::<_, String>(Frame::data(Bytes::from(vec![b'x'; 1024])))),
        );
        let request = Request::post(server.url("/")).body(StreamBody::new(frames)).unwrap();
        HttpClient::new().send_within(request, &grants, None, &LIMITS, &memory).await
    };
    let error = send(950 << 10).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::OutOfMemory, RequestSent::No));
    // What was taken is given back, whenever the answer is read or dropped.
    for _ in 0..20 {
        drop(send(400 << 10).await.unwrap());
    }
    let held: Vec<_> = futures::future::join_all((0..7).map(|_| send(1 << 10))).await;
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(send(1 << 10).await.unwrap_err().kind, HttpErrorKind::OutOfMemory);
    drop(held);
    send(400 << 10).await.unwrap();
}

#[tokio::test]
async fn secrets_do_not_go_where_they_do_not_belong() {
    let server = Server::start().await;
    let secrets = secrets();
    let node = call_grants("node-address", "", &["127.0.0.1"], &[]);
    let client = HttpClient::new();
    let fine = client.send(post(&server.url("/"), "nothing"), &node, Some(&secrets), &LIMITS).await.unwrap();
    assert_eq!(echoed(fine).await.body, "nothing");
    let placeholder = secrets.placeholder("key", Encoding::Plain).unwrap();
    let error =
        client.send(post(&server.url("/"), placeholder.clone()), &node, Some(&secrets), &LIMITS).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::NotGranted, RequestSent::No));
    // Without this call's secrets it is a text like any other.
    let other = client.send(post(&server.url("/"), placeholder.clone()), &node, None, &LIMITS).await.unwrap();
    assert_eq!(echoed(other).await.body, placeholder);
}

#[tokio::test]
async fn what_the_endpoint_names_is_reached_without_secrets() {
    let (identity, compute) = (Server::start().await, Server::start().await);
    let grants = Grants::default();
    let agreed: PluginGrants = serde_json::from_value(serde_json::json!({"network": ["announced"]})).unwrap();
    let call_of = |identity_of: &str, operator: Option<&PluginGrants>, needs: &[&str]| {
        grants.for_call(&GrantSubject {
            plugin: "test",
            plugin_identity: identity_of,
            operator,
            needs_network: &needs.iter().map(|need| (*need).to_owned()).collect::<Vec<_>>(),
            endpoints: &[identity.url("")],
            ..GrantSubject::default()
        })
    };
    let call = |needs: &[&str]| call_of("a", Some(&agreed), needs);
    let client = HttpClient::new();
    let send = async |call: &CallGrants, request, secrets| client.send(request, call, secrets, &LIMITS).await;
    let first = call(&["endpoint", "announced"]);
    let error = send(&first, get(&compute.url("/")), None).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::NotGranted);
    // The server repeats what it is sent.
    send(&first, post(&identity.url("/"), compute.url("/v2.1")), None).await.unwrap();
    send(&first, get(&compute.url("/")), None).await.unwrap();
    // A later call may reach it too; a call of another plugin may not, nor one that does not need it.
    send(&call(&["endpoint", "announced"]), get(&compute.url("/")), None).await.unwrap();
    assert!(send(&call(&["endpoint"]), get(&compute.url("/")), None).await.is_err());
    assert!(send(&call_of("a", None, &["endpoint", "announced"]), get(&compute.url("/")), None).await.is_err());
    let other = call_of("b", Some(&agreed), &["endpoint", "announced"]);
    assert!(send(&other, get(&compute.url("/")), None).await.is_err());
    assert!(send(&endpoint_grants(&identity.url("")), get(&compute.url("/")), None).await.is_err());
    let secrets = secrets();
    let placeholder = secrets.placeholder("key", Encoding::Plain).unwrap();
    let error = send(&first, post(&compute.url("/"), placeholder.clone()), Some(&secrets)).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::NotGranted, RequestSent::No));
    send(&first, post(&identity.url("/"), placeholder), Some(&secrets)).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_does_not_fit_is_not_shown() {
    let secrets = CallSecrets::new([("key".to_owned(), Zeroizing::new("line\nhunter2".to_owned()))], BTreeSet::new());
    let mut request = get("http://cloud.invalid/");
    request.headers_mut().insert("x-auth", secrets.placeholder("key", Encoding::Plain).unwrap().parse().unwrap());
    let grants = endpoint_grants("http://cloud.invalid");
    let error = HttpClient::new().send(request, &grants, Some(&secrets), &LIMITS).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::InvalidRequest);
    assert!(error.message.contains("x-auth") && !error.message.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn unix_sockets_are_reached_under_their_made_up_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("engine.sock");
    let server = Server::start_unix(&path).await;
    let client = HttpClient::new();
    for _ in 0..3 {
        let grants = endpoint_grants(&format!("unix://{}", path.display()));
        let url = grants.url_for(&format!("unix://{}", path.display())).unwrap();
        let request = echoed(client.send(get(&format!("{url}/info")), &grants, None, &LIMITS).await.unwrap()).await;
        assert_eq!((request.path.as_str(), request.headers["host"].as_str()), ("/info", "localhost"));
        // The name is worth nothing in another call.
        let other = endpoint_grants(&format!("unix://{}", path.display()));
        let error = client.send(get(&url), &other, None, &LIMITS).await.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::NotGranted);
        wait_until_idle(&client.pool).await;
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_socket_that_is_missing_is_told_as_that() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    for (path, kind) in
        [("nowhere.sock", HttpErrorKind::NoSocket), ("file/nowhere.sock", HttpErrorKind::NoSocketDirectory)]
    {
        let socket = format!("unix://{}", directory.path().join(path).display());
        let grants = endpoint_grants(&socket);
        let url = grants.url_for(&socket).unwrap();
        let error = HttpClient::new().send(post(&url, "x"), &grants, None, &LIMITS).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (kind, RequestSent::No), "{error}");
        assert!(error.message.contains("nowhere.sock: there is no such socket"), "{error}");
    }
}

#[tokio::test]
async fn tls_speaks_http2_over_one_connection_and_trusts_only_its_authorities() {
    let server = Server::start_tls().await;
    let url = format!("https://localhost:{}", server.port());
    let grants = endpoint_grants(&url);
    let client = HttpClient { connector: Arc::new(Connector::trusting(server::authority())), pool: Pool::default() };
    echoed(client.send(get(&url), &grants, None, &LIMITS).await.unwrap()).await;
    wait_until_idle(&client.pool).await;
    let many =
        (0..20).map(|_| async { echoed(client.send(post(&url, "x"), &grants, None, &LIMITS).await.unwrap()).await });
    for request in futures::future::join_all(many).await {
        assert_eq!((request.version.as_str(), request.body.as_str()), ("HTTP/2.0", "x"));
    }
    assert_eq!(server.connections(), 1);
    let untrusting = HttpClient { connector: Arc::new(Connector::trusting(rustls::RootCertStore::empty())), ..client };
    let untrusting = HttpClient { pool: Pool::default(), ..untrusting };
    let error = untrusting.send(get(&url), &grants, None, &LIMITS).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Certificate, RequestSent::No), "{error}");
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow() {
    let server = Server::start().await;
    let grants = endpoint_grants(&server.url(""));
    let response = HttpClient::new().send(get(&server.url("/redirect")), &grants, None, &LIMITS).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.headers()["location"], "http://169.254.169.254/");
}

#[tokio::test]
async fn failures_tell_whether_something_may_have_happened() {
    let server = Server::start().await;
    let closed = Server::closed_port().await;
    let quick =
        HttpLimits { first_byte: Duration::from_millis(100), between_bytes: Duration::from_millis(100), ..LIMITS };
    let small = HttpLimits { response_body: 10, ..LIMITS };
    for (url, limits, kind, sent) in [
        (format!("http://127.0.0.1:{closed}"), &LIMITS, HttpErrorKind::Connect, RequestSent::No),
        ("http://no-such-host.invalid".to_owned(), &LIMITS, HttpErrorKind::Dns, RequestSent::No),
        (server.url("/silent"), &quick, HttpErrorKind::FirstByteTimeout, RequestSent::Maybe),
        (server.url("/stall"), &quick, HttpErrorKind::BetweenBytesTimeout, RequestSent::Maybe),
        (server.url("/hang-up"), &LIMITS, HttpErrorKind::Protocol, RequestSent::Maybe),
        (server.url("/"), &small, HttpErrorKind::ResponseTooLarge, RequestSent::Maybe),
        (
            server.url("/"),
            &HttpLimits { request_body: 0, ..LIMITS },
            HttpErrorKind::RequestTooLarge,
            RequestSent::Maybe,
        ),
    ] {
        let error = failure_of(&url, limits).await;
        assert_eq!((error.kind, error.sent), (kind, sent), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_silent_address_ends_with_a_connect_timeout() {
    // A listener whose queue is full accepts nobody; without one, a server that never answers TLS does as well.
    let server = Server::start_mute().await;
    let url = format!("https://localhost:{}", server.port());
    let limits = HttpLimits { connect: Duration::from_millis(200), ..LIMITS };
    let error = failure_of(&url, &limits).await;
    assert_eq!((error.kind, error.sent), (HttpErrorKind::ConnectTimeout, RequestSent::No), "{error}");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let server = Server::start().await;
    let (client, grants) = (HttpClient::new(), endpoint_grants(&server.url("")));
    for _ in 0..3 {
        // The server announces that it keeps the connection, and closes it after the answer.
        let response = client.send(post(&server.url("/close-later"), "x"), &grants, None, &LIMITS).await.unwrap();
        response.into_body().collect().await.unwrap();
        // Whether the connection came into the pool before it was closed or never did, nothing tells.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.connections(), 3);
}

/// A body without content that ends a moment after the request was handed over, as guests end theirs.
struct DelayedEndBody {
    end: std::pin::Pin<Box<tokio::time::Sleep>>,
    /// Set once it was read to its end, and not just dropped.
    reached_end: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl http_body::Body for DelayedEndBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        use std::future::Future as _;
        self.end.as_mut().poll(cx).map(|()| {
            self.reached_end.store(true, std::sync::atomic::Ordering::SeqCst);
            None
        })
    }
}

#[tokio::test]
async fn a_body_without_content_is_awaited_and_not_sent_in_chunks() {
    let server = Server::start().await;
    let (client, grants) = (HttpClient::new(), endpoint_grants(&server.url("")));
    for (method, declared) in [("GET", None), ("DELETE", None), ("POST", None), ("POST", Some("0"))] {
        let reached_end = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let body = DelayedEndBody {
            end: Box::pin(tokio::time::sleep(Duration::from_millis(30))),
            reached_end: std::sync::Arc::clone(&reached_end),
        };
        let mut request = Request::builder().method(method).uri(server.url("/"));
        if let Some(length) = declared {
            request = request.header("content-length", length);
        }
        let request = request.body(body).unwrap();
        let request = echoed(client.send(request, &grants, None, &LIMITS).await.unwrap()).await;
        assert!(reached_end.load(std::sync::atomic::Ordering::SeqCst), "{method}: the guest was cut off");
        assert!(!request.headers.contains_key("transfer-encoding"), "{method}: {:?}", request.headers);
    }
}
