//! TLS: the authorities that a connection trusts, the client's certificates, and messages for faults of certificates.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use occopus_model::{Secret, Tls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::error::{client_certificate_refusal, error_chain};
use super::{HttpError, HttpErrorKind, RequestSent};

/// Certificates of one access to a cloud: trusted authorities, and the client's own.
#[derive(Clone)]
pub(crate) struct TlsIdentity {
    tls: Arc<Tls>,
    /// Digest that distinguishes it from others.
    digest: [u8; 32],
}

impl TlsIdentity {
    /// Returns the authorities alone: for servers that are trusted like the endpoint, but do not get the client's
    /// certificate.
    pub(crate) fn authorities_only(&self) -> Option<Self> {
        Self::from_tls(&Tls { ca: self.tls.ca.clone(), client: None })
    }

    /// Returns the certificates of a credential; none if it has none.
    pub(crate) fn from_tls(tls: &Tls) -> Option<Self> {
        if tls.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        let (certificate, key) = tls.client.as_ref().map_or(("", ""), |(certificate, key)| (certificate, key.expose()));
        for part in [tls.ca.as_deref().unwrap_or_default(), certificate, key] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Some(Self { tls: Arc::new(tls.clone()), digest: hash.finalize().into() })
    }

    /// Returns the digest that distinguishes it from others.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl PartialEq for TlsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TlsIdentity {}

impl Hash for TlsIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

/// TLS settings by identity, each made once.
#[derive(Default)]
pub(super) struct TlsConfigs {
    /// Settings with the system's roots, which are read when they are first needed: that takes some milliseconds.
    system: OnceCell<Arc<ClientConfig>>,
    by_identity: Mutex<HashMap<[u8; 32], Arc<ClientConfig>>>,
}

impl TlsConfigs {
    /// Creates settings that trust these authorities instead of the system's.
    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self { system: OnceCell::new_with(Some(client_config(roots, None).unwrap())), by_identity: Mutex::default() }
    }

    /// Returns the settings of an identity, or those with the system's roots.
    pub(super) async fn of(&self, identity: Option<&TlsIdentity>) -> Result<Arc<ClientConfig>, String> {
        let Some(identity) = identity else {
            return self.system.get_or_try_init(async || client_config(system_roots().await?, None)).await.cloned();
        };
        let known = || self.by_identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = known().get(&identity.digest) {
            return Ok(Arc::clone(config));
        }
        let roots = match &identity.tls.ca {
            Some(pem) => parse_authorities(pem)?,
            None => system_roots().await?,
        };
        let config = client_config(roots, identity.tls.client.as_ref())?;
        let mut known = known();
        // Settings of earlier credentials are not needed again.
        if known.len() >= MAX_CACHED_CONFIGS {
            known.clear();
        }
        known.insert(identity.digest, Arc::clone(&config));
        Ok(config)
    }
}

fn parse_authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "`ca` in the credentials is not PEM")?;
        roots.add(certificate).map_err(|error| format!("`ca` in the credentials: {error}"))?;
    }
    if roots.is_empty() { Err("`ca` in the credentials has no certificate in it".to_owned()) } else { Ok(roots) }
}

/// Loads the system's authorities, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
async fn system_roots() -> Result<RootCertStore, String> {
    let load = || {
        let mut roots = RootCertStore::empty();
        let loaded = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(loaded.certs);
        (roots, loaded.errors)
    };
    let (roots, errors) = tokio::task::spawn_blocking(load).await.map_err(|error| error.to_string())?;
    if roots.is_empty() {
        let causes: String = errors.iter().map(|error| format!("; {error}")).collect();
        return Err(format!("this machine has no certificates of authorities (install ca-certificates){causes}"));
    }
    Ok(roots)
}

fn client_config(roots: RootCertStore, client: Option<&(String, Secret)>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
            let chain = chain.map_err(|_| "`client_certificate` in the credentials is not PEM")?;
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
            let key = key.map_err(|_| "`client_key` in the credentials is not a private key in PEM")?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| format!("`client_certificate` and `client_key` in the credentials: {error}"))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Number of identities whose settings are kept.
const MAX_CACHED_CONFIGS: usize = 64;

/// Converts the error of a handshake. Nothing of a request was sent.
pub(super) fn handshake_error(error: &io::Error) -> HttpError {
    let failed = |kind, message| HttpError::new(kind, RequestSent::No, message);
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidCertificate(fault)) => failed(HttpErrorKind::Certificate, certificate_error_message(fault)),
        _ if let Some(message) = client_certificate_refusal(error) => failed(HttpErrorKind::Certificate, message),
        Some(Error::InvalidMessage(_)) => {
            failed(HttpErrorKind::Tls, "it does not speak TLS: is it `http://`?".to_owned())
        }
        _ => failed(HttpErrorKind::Tls, error_chain(error)),
    }
}

fn certificate_error_message(fault: &CertificateError) -> String {
    let day = |time: &UnixTime| {
        let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(second).map_or_else(|_| format!("{second} s"), |time| time.to_string())
    };
    match fault {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {}", day(not_after))
        }
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}: is the clock of this machine right?", day(not_before))
        }
        CertificateError::NotValidYet => {
            "its certificate is not valid yet: is the clock of this machine right?".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare_name(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("its certificate is for {names}, not for {}", expected.to_str())
        }
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::UnknownIssuer => {
            "its certificate is signed by an authority that is not trusted here; the credentials may name it (`ca`)"
                .to_owned()
        }
        CertificateError::BadSignature => "its certificate is not signed by the authority that it names".to_owned(),
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        other => format!("its certificate is not valid: {other}"),
    }
}

/// Returns a name as people write it: rustls has `DnsName("a.test")` and `IpAddress(10.0.0.1)`.
fn bare_name(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}
