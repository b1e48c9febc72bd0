//! Server for the tests: it echoes requests, or misbehaves by path.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

/// Header for an answer in a form in which the client finds no secret: the last bit of each byte is flipped.
pub(super) const SCRAMBLE: &str = "x-scramble";

/// A request as the server received it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EchoedRequest {
    pub(super) path: String,
    pub(super) version: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

pub(super) struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) async fn start() -> Self {
        Self::listen(|stream| async move { serve_tcp(stream).await }).await
    }

    pub(super) async fn start_tls() -> Self {
        Self::start_with(acceptor()).await
    }

    pub(super) async fn start_tls_with(config: rustls::ServerConfig) -> Self {
        Self::start_with(TlsAcceptor::from(Arc::new(config))).await
    }

    async fn start_with(acceptor: TlsAcceptor) -> Self {
        Self::listen(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            }
        })
        .await
    }

    /// Starts a server that accepts connections and sends nothing.
    pub(super) async fn start_mute() -> Self {
        Self::listen(|stream| async move {
            let _held = stream;
            std::future::pending().await
        })
        .await
    }

    pub(super) async fn start_unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { port: 0, connections }
    }

    /// Returns a port that nobody listens on.
    pub(super) async fn closed_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
    }

    async fn listen<F, D>(each: F) -> Self
    where
        F: Fn(TcpStream) -> D + Send + 'static,
        D: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(each(stream));
            }
        });
        Self { port, connections }
    }
}

/// Serves a connection; some misbehaviour needs the bare stream.
async fn serve_tcp(mut stream: TcpStream) {
    let mut start = [0; 64];
    let length = stream.peek(&mut start).await.unwrap();
    let start = String::from_utf8_lossy(&start[..length]).into_owned();
    if start.contains("/hang-up") {
        let _ = stream.read(&mut [0; 4096]).await;
    } else if start.contains("/close-later") {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    } else {
        serve(stream).await;
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().to_string();
    if path == "/silent" {
        std::future::pending::<()>().await;
    }
    if path == "/stall" {
        let frames = futures::stream::unfold(0, |count| async move {
            if count > 0 {
                std::future::pending::<()>().await;
            }
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), count + 1))
        });
        return Ok(Response::new(StreamBody::new(frames).boxed_unsync()));
    }
    let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let echoed = EchoedRequest {
        path: path.clone(),
        version: format!("{:?}", parts.version),
        headers: headers.collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let mut bytes = serde_json::to_vec(&echoed).unwrap();
    if echoed.headers.contains_key(SCRAMBLE) {
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
    }
    let mut response = Response::new(Full::new(Bytes::from(bytes)).boxed_unsync());
    if path == "/redirect" {
        *response.status_mut() = http::StatusCode::FOUND;
        response.headers_mut().insert("location", "http://169.254.169.254/".parse().unwrap());
    }
    Ok(response)
}

/// Returns the authority that signed the server's certificate, whose own key is gone.
pub(super) fn authority() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(include_bytes!("../testdata/ca.pem")).unwrap()).unwrap();
    roots
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../testdata/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../testdata/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
