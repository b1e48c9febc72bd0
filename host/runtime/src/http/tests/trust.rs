//! Tests of certificates: the message of each fault, and those of the credentials.

use std::sync::Arc;

use occopus_model::{Secret, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::server::{EchoedRequest, Server};
use super::*;

pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(super) fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns certificate and key in PEM.
pub(super) fn signed(by: &Authority, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

/// Starts a server with this certificate. With an authority, it requires clients to have a certificate of it.
pub(super) async fn server((certificate, key): &(String, String), clients: Option<&Authority>) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Server::start_tls_with(builder.with_single_cert(vec![certificate], key).unwrap()).await
}

async fn ask(url: &str, tls: Tls) -> Result<EchoedRequest, HttpError> {
    let grants = endpoint_grants(url).with_tls_identity(TlsIdentity::from_tls(&tls));
    Ok(echoed(HttpClient::new().send(get(url), &grants, None, &LIMITS).await?).await)
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_own_words_and_is_final() {
    let (trusted, other) = (authority("trusted"), authority("other"));
    let trusting = Tls { ca: Some(trusted.pem()), client: None };
    let good = signed(&trusted, "localhost", |_| {});
    let past = signed(&trusted, "localhost", |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 3, 4));
    });
    let future = signed(&trusted, "localhost", |params| params.not_before = date_time_ymd(2999, 1, 2));
    let elsewhere = signed(&trusted, "other.test", |_| {});
    let foreign = signed(&other, "localhost", |_| {});
    for (certificate, words) in [
        (past, "expired on 2002-03-04"),
        (future, "is not valid before 2999-01-02"),
        (elsewhere, "is for other.test, not for localhost"),
        (foreign, "not trusted here; the credentials may name it (`ca`)"),
    ] {
        let server = server(&certificate, None).await;
        let url = format!("https://localhost:{}", server.port());
        let error = ask(&url, trusting.clone()).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (HttpErrorKind::Certificate, RequestSent::No), "{error}");
        assert!(error.message.contains(words), "{error}");
    }
    let server = server(&good, None).await;
    let url = format!("https://localhost:{}", server.port());
    assert_eq!(ask(&url, trusting).await.unwrap().path, "/");
    let error =
        ask(&url, Tls { ca: Some("-----BEGIN CERTIFICATE-----\n".to_owned()), client: None }).await.unwrap_err();
    assert!(error.message.contains("`ca` in the credentials"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_as_that() {
    let server = Server::start().await;
    let url = format!("https://localhost:{}", server.port());
    let error = ask(&url, Tls { ca: Some(authority("any").pem()), client: None }).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Tls, RequestSent::No), "{error}");
    assert!(error.message.contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn a_client_shows_the_certificate_of_its_credentials_and_only_to_its_endpoint() {
    let (servers, clients) = (authority("of servers"), authority("of clients"));
    let server = server(&signed(&servers, "localhost", |_| {}), Some(&clients)).await;
    let url = format!("https://localhost:{}", server.port());
    let trusting = |client| Tls { ca: Some(servers.pem()), client };
    let (certificate, key) = signed(&clients, "client", |_| {});
    let client = Some((certificate, Secret::new(key)));
    assert_eq!(ask(&url, trusting(client.clone())).await.unwrap().path, "/");
    for client in [None, Some(signed(&servers, "client", |_| {})).map(|(pem, key)| (pem, Secret::new(key)))] {
        let error = ask(&url, trusting(client)).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (HttpErrorKind::Certificate, RequestSent::No), "{error}");
        assert!(error.message.contains("refuses the client"), "{error}");
    }
    let folded = Secret::new("-----BEGIN PRIVATE KEY----- MIGHAgEAMBMGByqGSM49 -----END PRIVATE KEY-----".to_owned());
    let error = ask(&url, trusting(Some((signed(&clients, "client", |_| {}).0, folded)))).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Certificate, "it does not pass");
    assert!(error.message.contains("`client_key` in the credentials is not a private key"), "{error}");
    // Connections of one access are not shared with another, not even with one of the same client.
    let one = HttpClient::new();
    let with = |tls: &Tls| endpoint_grants(&url).with_tls_identity(TlsIdentity::from_tls(tls));
    echoed(one.send(get(&url), &with(&trusting(client.clone())), None, &LIMITS).await.unwrap()).await;
    wait_until_idle(&one.pool).await;
    assert!(one.send(get(&url), &with(&trusting(None)), None, &LIMITS).await.is_err());
    // A node is not the endpoint.
    let node = call_grants("node-address", "", &["localhost"], &[])
        .with_tls_identity(TlsIdentity::from_tls(&trusting(client)));
    let error = one.send(get(&url), &node, None, &LIMITS).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Certificate, "{error}");
}
