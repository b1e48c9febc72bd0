//! Requests that go through a proxy.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use occopus_model::{Secret, Tls};

use super::server::{self, Server};
use super::trust::{authority, server as trusting_server, signed};
use super::*;
use crate::http::proxy::Proxies;

/// Starts a proxy that forwards everything to one server. Returns its URL and the heads of the requests that it
/// received.
async fn proxy(server: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://me:pass@{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, server, Arc::clone(&recorded)));
        }
    });
    (url, heads)
}

async fn forward(client: TcpStream, server: u16, heads: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap() == 0 {
            return;
        }
    }
    heads.lock().unwrap().push(head.clone());
    if head.starts_with("CONNECT refused.test") {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        return;
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    if head.starts_with("CONNECT") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
        return;
    }
    let own = head.replacen("http://cloud.test", "", 1);
    upstream.write_all(own.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.unwrap();
    client.write_all(&answer).await.unwrap();
}

fn client(proxy: &str) -> HttpClient {
    let connector = Connector::trusting(server::authority()).with_proxies(Proxies::all_by(proxy));
    HttpClient { connector: Arc::new(connector), pool: Pool::default() }
}

#[tokio::test]
async fn plain_requests_are_given_to_the_proxy_whole() {
    let server = Server::start().await;
    let (proxy, heads) = proxy(server.port()).await;
    let url = "http://cloud.test/v3";
    let request = echoed(client(&proxy).send(get(url), &endpoint_grants(url), None, &LIMITS).await.unwrap()).await;
    assert_eq!((request.path.as_str(), request.headers["host"].as_str()), ("/v3", "cloud.test"));
    let head = heads.lock().unwrap().remove(0).to_lowercase();
    assert!(head.starts_with("get http://cloud.test/v3 ") && head.contains("proxy-authorization: basic "), "{head}");
}

#[tokio::test]
async fn tls_goes_through_the_proxy_untouched() {
    let server = Server::start_tls().await;
    let (proxy, heads) = proxy(server.port()).await;
    // The name of the tests' certificate; this machine is reached directly.
    let url = format!("https://localhost:{}", server.port());
    let client = client(&proxy);
    echoed(client.send(get(&url), &endpoint_grants(&url), None, &LIMITS).await.unwrap()).await;
    assert!(heads.lock().unwrap().is_empty());
    let url = "https://cloud.test";
    let error = client.send(get(url), &endpoint_grants(url), None, &LIMITS).await.unwrap_err();
    assert!(error.message.contains("not for cloud.test"), "the server's own certificate is seen: {error}");
    assert!(heads.lock().unwrap()[0].starts_with("CONNECT cloud.test:443 "));
    let url = "https://refused.test";
    let error = client.send(get(url), &endpoint_grants(url), None, &LIMITS).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Proxy, RequestSent::No));
    assert!(error.message.contains("the proxy: it answers 403 Forbidden to CONNECT refused.test:443"), "{error}");
}

#[tokio::test]
async fn certificates_of_the_credentials_are_used_within_the_tunnel() {
    let (servers, clients) = (authority("of servers"), authority("of clients"));
    let (certificate, key) = signed(&clients, "client", |_| {});
    let with_client = Some((certificate, Secret::new(key)));
    let url = "https://cloud.test/v3";
    for (wanted, client, outcome) in [
        (None, None, Ok("/v3")),
        (None, with_client.clone(), Ok("/v3")),
        (Some(&clients), with_client.clone(), Ok("/v3")),
        (Some(&clients), None, Err("refuses the client")),
    ] {
        let server = trusting_server(&signed(&servers, "cloud.test", |_| {}), wanted).await;
        let (proxy, heads) = proxy(server.port()).await;
        let connector = Connector::default().with_proxies(Proxies::all_by(&proxy));
        let http = HttpClient { connector: Arc::new(connector), pool: Pool::default() };
        let grants =
            endpoint_grants(url).with_tls_identity(TlsIdentity::from_tls(&Tls { ca: Some(servers.pem()), client }));
        let answer = match http.send(post(url, "a body"), &grants, None, &LIMITS).await {
            Ok(response) => Ok(echoed(response).await),
            Err(error) => Err(error),
        };
        match (answer, outcome) {
            (Ok(request), Ok(path)) => {
                assert_eq!((request.path.as_str(), request.body.as_str()), (path, "a body"));
                let told = format!("{:?}", request.headers).to_lowercase();
                assert!(!told.contains("proxy-"), "the server hears nothing of the proxy: {told}");
            }
            (Err(error), Err(words)) => {
                assert_eq!((error.kind, error.sent), (HttpErrorKind::Certificate, RequestSent::No), "{error}");
                assert!(error.message.contains(words), "{error}");
            }
            (answer, outcome) => panic!("{answer:?} instead of {outcome:?}"),
        }
        let heads = heads.lock().unwrap();
        let head = heads[0].to_lowercase();
        assert!(head.starts_with("connect cloud.test:443 ") && head.contains("proxy-authorization: basic "), "{head}");
        assert!(
            !head.contains("/v3") && !head.contains("a body"),
            "the proxy hears where to, and nothing else: {head}"
        );
    }
}

#[tokio::test]
async fn a_proxy_takes_nothing_from_the_grants() {
    let server = Server::start().await;
    let (proxy, heads) = proxy(server.port()).await;
    let client = client(&proxy);
    for url in ["http://other.test/", "http://169.254.169.254/latest", "http://2852039166/", "http://0xa9fea9fe/"] {
        let error = client.send(get(url), &endpoint_grants("http://cloud.test"), None, &LIMITS).await.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::NotGranted, "{url}: {error}");
    }
    // Hosts that NO_PROXY names, and nodes, are reached directly.
    let direct = "http://direct.test:9/";
    let node = call_grants("node-address", "", &["node.test"], &[]);
    for (url, grants) in [(direct, endpoint_grants(direct)), ("http://node.test:9/", node)] {
        let error = client.send(get(url), &grants, None, &LIMITS).await.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::Dns, "{url}: {error}");
    }
    assert!(heads.lock().unwrap().is_empty());
}
