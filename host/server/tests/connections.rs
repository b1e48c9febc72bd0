//! Tests of the listener over real connections: limits, timeouts, shutdown, HTTP/2 and TLS.

mod common;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use common::{Service, TEST_TIMEOUT, eventually, exchange, head, read};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use occopus_server::access::Scope;
use occopus_server::listen::TlsFiles;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let service = Service::start(|_| {}).await;
    let many = |number: usize| (0..number).map(|number| format!("x-{number}: y")).collect::<Vec<_>>();
    assert_eq!(service.request("GET /healthz", &many(90), "").await.status, 200);
    for flood in [many(101), many(20_000), vec![format!("x: {}", "y".repeat(1 << 20))]] {
        let response = service.request("GET /healthz", &flood, "").await;
        // The response may be lost when the connection is closed with unread bytes.
        assert!([431, 0].contains(&response.status), "{response:?}");
    }
    assert_eq!(service.request("GET /healthz", &[format!("x: {}", "y".repeat(70_000))], "").await.status, 431);
    assert_eq!(service.request(&format!("GET /{}", "y".repeat(70_000)), &[], "").await.status, 431);
    assert_eq!(service.request("GET /healthz", &[], "").await.status, 200);
}

#[tokio::test]
async fn connections_without_a_request_are_closed() {
    let service = Service::start(|setup| setup.listener.limits.head_timeout = SHORT).await;
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HT", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n"] {
        let mut stream = service.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let since = Instant::now();
        assert_eq!(read(stream).await.status, 0, "{begun}");
        assert!(since.elapsed() < 10 * SHORT, "{begun}: {:?}", since.elapsed());
    }
    // A byte now and then does not help.
    let mut stream = service.connect().await;
    let (since, mut bytes) = (Instant::now(), "GET / HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'y')));
    while stream.write_all(&[bytes.next().unwrap()]).await.is_ok() {
        assert!(since.elapsed() < TEST_TIMEOUT);
        sleep(SHORT / 10).await;
    }
    assert!(since.elapsed() < 10 * SHORT, "{:?}", since.elapsed());
}

#[tokio::test]
async fn slow_and_huge_bodies_are_rejected() {
    let service = Service::start(|setup| {
        setup.requests.body_timeout = SHORT;
        setup.requests.body_bytes = 1000;
    })
    .await;
    let post = |lines: &[&str], length| {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        head("POST /infrastructures/one", &lines, length)
    };
    let slow = exchange(service.connect().await, &[post(&[], 100).as_bytes(), b"some"]).await;
    assert_eq!(slow.status, 408, "{slow:?}");
    assert!(slow.body.contains("request.slow"), "{slow:?}");
    // Rejected before it is sent.
    let huge = exchange(service.connect().await, &[post(&[], 1 << 40).as_bytes()]).await;
    assert_eq!(huge.status, 413, "{huge:?}");
    let chunk = format!("190\r\n{}\r\n", "y".repeat(400));
    let chunked = post(&["transfer-encoding: chunked"], 0);
    let parts = [chunked.as_bytes(), chunk.as_bytes(), chunk.as_bytes(), chunk.as_bytes()];
    let huge = exchange(service.connect().await, &parts).await;
    assert_eq!(huge.status, 413, "{huge:?}");
    let whole = exchange(service.connect().await, &[&parts[..3], &[b"0\r\n\r\n"]].concat()).await;
    assert_eq!((whole.status, whole.body.as_str()), (200, "800"), "{whole:?}");
}

#[tokio::test]
async fn malformed_requests_end_with_an_error() {
    let service = Service::start(|_| {}).await;
    for broken in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\na b: c\r\n\r\n",
        "\x16\x03\x01",
    ] {
        let mut stream = service.connect().await;
        stream.write_all(broken.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let response = read(stream).await;
        assert!([400, 0].contains(&response.status), "{broken:?}: {response:?}");
    }
    // Two lengths in one request must not be read as two requests.
    let both = ["content-length: 5".to_owned(), "transfer-encoding: chunked".to_owned()];
    let head = head("POST /infrastructures/one", &both, 0);
    let rest = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let smuggled = exchange(service.connect().await, &[head.as_bytes(), rest]).await;
    assert!([400, 200].contains(&smuggled.status) && !smuggled.body.contains("HTTP/1.1"), "{smuggled:?}");
    assert_eq!(service.request("GET /healthz", &[], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_delay_nobody() {
    let service = Service::start(|setup| {
        setup.listener.limits.connections = 9000;
        setup.listener.limits.connections_per_address = 9000;
        setup.listener.limits.head_timeout = TEST_TIMEOUT;
    })
    .await;
    let mut idle = Vec::new();
    for number in 0..3000 {
        let mut stream = service.connect().await;
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        }
        idle.push(stream);
    }
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(service.request("GET /healthz", &[], "").await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(idle);
}

#[tokio::test]
async fn idle_connections_make_room() {
    for at_most in ["of one address", "of all"] {
        let service = Service::start(|setup| match at_most {
            "of all" => setup.listener.limits.connections = 3,
            _ => setup.listener.limits.connections_per_address = 3,
        })
        .await;
        let mut held = Vec::new();
        for begun in ["", "GET / HT", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"].repeat(5) {
            let mut stream = service.connect().await;
            stream.write_all(begun.as_bytes()).await.unwrap();
            // Nothing tells that the service has taken up a connection.
            sleep(SHORT / 20).await;
            held.push(stream);
        }
        let since = Instant::now();
        assert_eq!(service.request("GET /healthz", &[], "").await.status, 200, "{at_most}");
        assert!(since.elapsed() < Duration::from_secs(2), "{at_most}: {:?}", since.elapsed());
        // The oldest one was closed first.
        assert_eq!(read(held.remove(0)).await.status, 0, "{at_most}");
    }
}

#[tokio::test]
async fn busy_connections_make_no_room() {
    let service = Service::start(|setup| setup.listener.limits.connections_per_address = 2).await;
    let busy = || service.request("GET /gate", &[], "");
    let late = async || {
        service.gate.reached_by(2).await;
        let rejected = service.request("GET /healthz", &[], "").await;
        service.gate.open();
        rejected
    };
    let (one, two, rejected) = tokio::join!(busy(), busy(), late());
    assert_eq!((one.status, two.status, rejected.status), (200, 200, 0));

    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = service.connect().await;
        stream.write_all(head("GET /events", &[], 0).as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        streams.push(stream);
    }
    assert_eq!(service.request("GET /healthz", &[], "").await.status, 0);
    drop(streams.pop());
    eventually("there is room", async || service.request("GET /healthz", &[], "").await.status == 200).await;

    let service = Service::start(|setup| setup.listener.limits.connections = 2).await;
    let busy = || service.request("GET /gate", &[], "");
    let late = async || {
        service.gate.reached_by(2).await;
        (service.request("GET /healthz", &[], "").await, service.gate.is_open())
    };
    let opening = async {
        service.gate.reached_by(2).await;
        // A request that waits for a connection is not answered.
        sleep(SHORT).await;
        service.gate.open();
    };
    let (one, two, (waited, was_open), ()) = tokio::join!(busy(), busy(), late(), opening);
    assert_eq!((one.status, two.status, waited.status), (200, 200, 200));
    assert!(was_open, "it waited until another one had ended");
}

#[tokio::test]
async fn requests_in_progress_are_finished_on_shutdown() {
    let service = Service::start(|_| {}).await;
    let idle = service.connect().await;
    let mut kept = service.connect().await;
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let request = service.request("GET /gate", &[], "");
    let end = async {
        service.gate.reached_by(1).await;
        service.shutdown.cancel();
        let since = Instant::now();
        // A connection that waits for the next request is closed; one with a request is not.
        assert_eq!(read(kept).await.status, 200);
        service.gate.open();
        since
    };
    let (response, since) = tokio::join!(request, end);
    assert_eq!((response.status, response.body.as_str()), (200, "done"));
    timeout(TEST_TIMEOUT, service.running).await.unwrap().unwrap().unwrap();
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert_eq!(read(idle).await.status, 0);
    assert!(TcpStream::connect(service.address).await.is_err());
}

#[tokio::test]
async fn endless_requests_are_aborted_after_the_grace_period() {
    let service = Service::start(|setup| setup.grace = SHORT).await;
    let address = service.address;
    let request = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        exchange(stream, &[head("GET /gate", &[], 0).as_bytes()]).await
    });
    service.gate.reached_by(1).await;
    service.shutdown.cancel();
    let since = Instant::now();
    timeout(TEST_TIMEOUT, service.running).await.unwrap().unwrap().unwrap();
    assert!(since.elapsed() < 10 * SHORT, "{:?}", since.elapsed());
    assert_eq!(request.await.unwrap().status, 0);
}

#[tokio::test]
async fn http2_is_accepted_without_negotiation() {
    let service = Service::start(|_| {}).await;
    let token = service.token("ci", Scope::Read, None).await;
    let stream = TokioIo::new(service.connect().await);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = |host: &str| {
        let request = http::Request::builder().uri(format!("http://{host}/whoami"));
        request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()
    };
    let response = client.send_request(request("localhost")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ci Some(127.0.0.1)");
    assert_eq!(client.send_request(request("evil.example")).await.unwrap().status(), 421);
    let mut many = request("localhost");
    many.headers_mut().extend((0..150).map(|number| {
        (http::HeaderName::try_from(format!("x-{number}")).unwrap(), http::HeaderValue::from_static("y"))
    }));
    assert_eq!(client.send_request(many).await.unwrap().status(), 431);
    assert_eq!(client.send_request(request("localhost")).await.unwrap().status(), 200);
}

/// Writes a new self-signed certificate for `localhost` into files.
fn certificate(directory: &TempDir) -> (TlsFiles, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: directory.path().join("cert.pem"), key: directory.path().join("key.pem") };
    fs::write(&files.certificate, cert.pem()).unwrap();
    fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    (files, cert.der().clone())
}

async fn encrypted(
    service: &Service,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, service.connect().await).await
}

#[tokio::test]
async fn tls_is_accepted_and_a_new_certificate_is_loaded() {
    let directory = TempDir::new().unwrap();
    let (files, first) = certificate(&directory);
    let service = Service::start(|setup| {
        setup.listener.tls = Some(files);
        setup.listener.limits.certificate_check = Duration::from_millis(50);
        setup.listener.limits.handshake_timeout = SHORT;
    })
    .await;
    let request = head("GET /healthz", &[], 0);
    let response = exchange(encrypted(&service, &first, b"http/1.1").await.unwrap(), &[request.as_bytes()]).await;
    assert_eq!((response.status, response.body.as_str()), (200, "well"));
    assert!(response.head.contains("strict-transport-security: "), "{}", response.head);
    let stream = encrypted(&service, &first, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    // Plain HTTP gets no response, and an unfinished handshake is closed.
    assert_eq!(service.request("GET /healthz", &[], "").await.status, 0);
    let since = Instant::now();
    assert_eq!(read(service.connect().await).await.status, 0);
    assert!(since.elapsed() < 10 * SHORT, "{:?}", since.elapsed());

    let (_, second) = certificate(&directory);
    eventually("it is loaded", async || encrypted(&service, &second, b"h2").await.is_ok()).await;
    assert!(encrypted(&service, &first, b"h2").await.is_err());
}
