//! A server behind TLS that requires client certificates.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// A TLS proxy before a unix socket. Ends when dropped.
pub struct TlsProxy {
    /// `https://localhost:PORT`.
    pub endpoint: String,
    /// The authority of the server's certificate and of those of clients, in PEM.
    pub authority: String,
    /// A client's certificate and key, in PEM.
    pub client: (String, String),
    _runtime: Runtime,
}

impl TlsProxy {
    /// Listens on this machine, and forwards connections to the socket.
    ///
    /// # Panics
    /// Panics if it cannot listen.
    pub fn in_front_of(socket: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let signed = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            (params.signed_by(&key, &authority).expect("a certificate"), key)
        };
        let (server, client) = (signed("localhost"), signed("client"));
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::try_from(server.1.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("a verifier"))
            .with_single_cert(vec![server.0.der().clone()], key)
            .expect("a configuration");
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let endpoint = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        runtime.spawn(listen(listener, TlsAcceptor::from(Arc::new(config)), socket.to_owned()));
        let client = (client.0.pem(), client.1.serialize_pem());
        Self { endpoint, authority: authority.pem(), client, _runtime: runtime }
    }
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, socket: String) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, socket) = (acceptor.clone(), socket.clone());
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let Ok(mut server) = UnixStream::connect(Path::new(&socket)).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
        });
    }
}
