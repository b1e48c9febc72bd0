//! A small service behind the access checks, on a real socket, and a client that sends any bytes.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use occopus_engine::ports::SystemClock;
use occopus_engine::testing::MemoryStore;
use occopus_server::access::{Access, AccessConfig, AccessError, Caller, NewToken, Scope, Tokens, guard};
use occopus_server::listen::{ListenerConfig, RequestLimits, layers, serve};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Time limit of everything here.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings that a test changes.
pub(crate) struct Setup {
    pub(crate) listener: ListenerConfig,
    pub(crate) names: Vec<String>,
    pub(crate) requests: RequestLimits,
    pub(crate) rates: occopus_server::access::RateLimits,
    pub(crate) grace: Duration,
}

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) store: MemoryStore,
    pub(crate) tokens: Tokens,
    pub(crate) access: Access,
    pub(crate) gate: Gate,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<std::io::Result<()>>,
}

impl Service {
    pub(crate) async fn start(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            listener: ListenerConfig::at("127.0.0.1:0".parse().unwrap()),
            names: Vec::new(),
            requests: RequestLimits::default(),
            rates: Default::default(),
            grace: Duration::from_secs(5),
        };
        change(&mut setup);
        let gate = Gate::new();
        let store = MemoryStore::new(Arc::new(SystemClock));
        let tokens = Tokens::new(Arc::new(store.clone()));
        let bound = setup.listener.bind().await.unwrap();
        let address = bound.address();
        setup.requests.tls = bound.is_tls();
        let config = AccessConfig { names: setup.names, rates: setup.rates, ..AccessConfig::at(address) };
        let access = Access::new(tokens.clone(), config).unwrap();
        let router = layers(guard(routes(gate.clone()), &access), &setup.requests);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(serve(bound, router, shutdown.clone(), setup.grace));
        Self { address, store, tokens, access, gate, shutdown, running }
    }

    pub(crate) async fn token(&self, name: &str, scope: Scope, infrastructures: Option<&[&str]>) -> String {
        let infrastructures = infrastructures.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>());
        let new = NewToken { name: name.to_owned(), scope, infrastructures, expires: None };
        self.tokens.create(new).await.unwrap().0.reveal().to_owned()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request, such as `GET /`, with more lines of its head, on a new connection.
    pub(crate) async fn request(&self, request: &str, lines: &[String], body: &str) -> Response {
        let head = head(request, lines, body.len());
        exchange(self.connect().await, &[head.as_bytes(), body.as_bytes()]).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> u16 {
        self.request(&format!("GET {path}"), &[format!("authorization: Bearer {token}")], "").await.status
    }
}

/// Waits until a condition is met.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(TEST_TIMEOUT, waiting).await.is_ok(), "timed out waiting until {what}");
}

pub(crate) fn head(request: &str, lines: &[String], length: usize) -> String {
    let mut text = format!("{request} HTTP/1.1\r\nconnection: close\r\n");
    if !lines.iter().any(|line| line.starts_with("host:")) {
        text += "host: localhost\r\n";
    }
    if length > 0 {
        text += &format!("content-length: {length}\r\n");
    }
    lines.iter().for_each(|line| text += &format!("{line}\r\n"));
    text + "\r\n"
}

#[derive(Debug)]
pub(crate) struct Response {
    /// HTTP status; 0 if the connection ended without a response.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends, and reads until the other end closes, which may be before all is sent.
pub(crate) async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, parts: &[&[u8]]) -> Response {
    for part in parts {
        if stream.write_all(part).await.is_err() {
            break;
        }
    }
    read(stream).await
}

pub(crate) async fn read(mut stream: impl AsyncRead + Unpin) -> Response {
    let mut bytes = Vec::new();
    // A connection that is reset has still sent what was read.
    let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("the connection is closed in time");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Response { status, head: head.to_lowercase(), body: body.to_owned() }
}

fn routes(gate: Gate) -> Router {
    Router::new()
        .route("/infrastructures/{id}", get(read_one).post(change_one))
        .route("/whoami", get(|caller: Caller| async move { format!("{} {:?}", caller.name, caller.address) }))
        .route("/healthz", get(|| async { "well" }))
        .route("/events", get(events))
        .route("/gate", get(wait_at_gate))
        .layer(Extension(gate))
}

async fn read_one(caller: Caller, Path(id): Path<String>) -> Result<String, AccessError> {
    caller.authorize(Scope::Read, Some(&id)).map(|()| id)
}

async fn change_one(caller: Caller, Path(id): Path<String>, body: String) -> Result<String, AccessError> {
    caller.authorize(Scope::Operate, Some(&id)).map(|()| body.len().to_string())
}

/// Streams one event, and then nothing.
async fn events() -> impl IntoResponse {
    let events = futures::stream::iter([Ok::<_, std::io::Error>("data: one\n\n")]);
    let body = Body::from_stream(futures::StreamExt::chain(events, futures::stream::pending()));
    ([("content-type", "text/event-stream")], body)
}

/// A gate at which requests wait until it is opened.
#[derive(Clone)]
pub(crate) struct Gate {
    waiting: watch::Sender<usize>,
    is_open: watch::Sender<bool>,
}

impl Gate {
    fn new() -> Self {
        Self { waiting: watch::Sender::new(0), is_open: watch::Sender::new(false) }
    }

    /// Waits until this number of requests have come to the gate.
    pub(crate) async fn reached_by(&self, number: usize) {
        timeout(TEST_TIMEOUT, self.waiting.subscribe().wait_for(|waiting| *waiting >= number)).await.unwrap().unwrap();
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }
}

async fn wait_at_gate(Extension(gate): Extension<Gate>) -> &'static str {
    let mut is_open = gate.is_open.subscribe();
    gate.waiting.send_modify(|waiting| *waiting += 1);
    let _ = is_open.wait_for(|is_open| *is_open).await;
    "done"
}
