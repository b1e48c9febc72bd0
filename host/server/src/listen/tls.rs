//! The certificate and its key: read when the service starts, and reloaded when their files change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

/// Files for TLS.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate, followed by its intermediate certificates, in PEM.
    pub certificate: PathBuf,
    /// Private key, in PEM, without a password.
    pub key: PathBuf,
}

/// Failure to use the files for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Unreadable file.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// File without a certificate.
    #[error("{} has no certificate in PEM: a section that begins with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// Path of the file.
        path: PathBuf,
    },
    /// File without a key.
    #[error("{} has no private key in PEM without a password: a section that begins with -----BEGIN PRIVATE KEY-----", path.display())]
    NoKey {
        /// Path of the file.
        path: PathBuf,
    },
    /// File that is not well-formed.
    #[error("{} is not well-formed PEM: {reason}", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// Invalid certificate or key, or two that do not belong together.
    #[error("the certificate {} and the key {} can't be used together: {reason}", certificate.display(), key.display())]
    Unfit {
        /// Path of the certificate.
        certificate: PathBuf,
        /// Path of the key.
        key: PathBuf,
        /// Cause.
        reason: String,
    },
}

/// The TLS configuration of new connections, and the files that it comes from.
#[derive(Debug)]
pub(super) struct Certificates {
    files: TlsFiles,
    stamp: Option<FileStamps>,
    config: watch::Sender<Arc<ServerConfig>>,
}

/// Time of modification and size of the certificate and of the key, by which a change is detected.
type FileStamps = [(SystemTime, u64); 2];

impl Certificates {
    /// Reads the files. Fails if they are unusable.
    pub(super) async fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let stamp = file_stamps(&files);
        let config = load_config(files.clone()).await?;
        Ok(Self { files, stamp, config: watch::Sender::new(config) })
    }

    /// Returns the configuration for new connections, with its later changes.
    pub(super) fn config(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.config.subscribe()
    }

    /// Reloads the files when they have changed; never returns. Unusable files are logged, and the previous configuration
    /// stays. Stopped by aborting its task.
    pub(super) async fn reload_on_change(mut self, check: Duration) {
        loop {
            tokio::time::sleep(check).await;
            let found = file_stamps(&self.files);
            if found == self.stamp {
                continue;
            }
            match load_config(self.files.clone()).await {
                Ok(config) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "reloaded the certificate");
                    self.config.send_replace(config);
                    self.stamp = found;
                }
                Err(error) => {
                    tracing::warn!(%error, "the changed certificate cannot be used; the previous one stays in use")
                }
            }
        }
    }
}

fn file_stamps(files: &TlsFiles) -> Option<FileStamps> {
    let of = |path: &Path| fs::metadata(path).and_then(|found| Ok((found.modified()?, found.len()))).ok();
    Some([of(&files.certificate)?, of(&files.key)?])
}

async fn load_config(files: TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let unfit = unfit_error(&files);
    tokio::task::spawn_blocking(move || read_config(&files)).await.unwrap_or_else(|error| Err(unfit(error.to_string())))
}

fn read_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let TlsFiles { certificate, key } = files;
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| pem_error(certificate, error, || TlsError::NoCertificate { path: certificate.clone() }))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: certificate.clone() });
    }
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| pem_error(key, error, || TlsError::NoKey { path: key.clone() }))?;
    let unfit = unfit_error(files);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| unfit(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn pem_error(path: &Path, error: pem::Error, none: impl FnOnce() -> TlsError) -> TlsError {
    match error {
        pem::Error::Io(source) => TlsError::Unreadable { path: path.to_owned(), source },
        pem::Error::NoItemsFound => none(),
        // The content of the file is not reported: it may be the key.
        pem::Error::MissingSectionEnd { .. } => malformed(path, "a section has no end"),
        pem::Error::IllegalSectionStart { .. } => malformed(path, "a section's first line is wrong"),
        pem::Error::Base64Decode(_) => malformed(path, "a section is not base64"),
        _ => malformed(path, "it can't be read"),
    }
}

fn malformed(path: &Path, reason: &str) -> TlsError {
    TlsError::Malformed { path: path.to_owned(), reason: reason.to_owned() }
}

fn unfit_error(files: &TlsFiles) -> impl Fn(String) -> TlsError + use<> {
    let TlsFiles { certificate, key } = files.clone();
    move |reason| TlsError::Unfit { certificate: certificate.clone(), key: key.clone(), reason }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tempfile::TempDir;

    use super::*;

    fn files(directory: &TempDir, certificate: &str, key: &str) -> TlsFiles {
        let files =
            TlsFiles { certificate: directory.path().join("certificate.pem"), key: directory.path().join("key.pem") };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }

    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn files_of_no_use_are_told_in_words_and_without_the_key() {
        let directory = TempDir::new().unwrap();
        let (certificate, key) = pair();
        assert!(read_config(&files(&directory, &certificate, &key)).is_ok());
        assert!(read_config(&files(&directory, &format!("{certificate}{}", pair().0), &key)).is_ok());
        let broken = key.replacen("-----END", "----END", 1);
        let secret: Vec<_> = key.lines().filter(|line| !line.starts_with('-')).collect();
        for (certificate, key, words) in [
            ("", &*key, "has no certificate"),
            (&*key, &key, "has no certificate"),
            (&certificate, "", "has no private key"),
            (&certificate, &certificate, "has no private key"),
            (&certificate, &broken, "no end"),
            (&certificate, &pair().1, "can't be used together"),
        ] {
            let error = read_config(&files(&directory, certificate, key)).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
            assert!(!secret.iter().any(|line| error.contains(line)), "{error}");
        }
        let missing = TlsFiles { certificate: "/nowhere/c.pem".into(), key: "/nowhere/k.pem".into() };
        assert!(read_config(&missing).unwrap_err().to_string().contains("/nowhere/c.pem can't be read"));
    }

    #[tokio::test]
    async fn files_that_change_are_read_again_and_broken_ones_change_nothing() {
        let directory = TempDir::new().unwrap();
        let (certificate, key) = pair();
        let certificates = Certificates::read(files(&directory, &certificate, &key)).await.unwrap();
        let mut config = certificates.config();
        let first = config.borrow_and_update().clone();
        let reload = tokio::spawn(certificates.reload_on_change(Duration::from_millis(10)));
        files(&directory, "none yet", "");
        // Nothing tells that the broken files were read.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!config.has_changed().unwrap());
        let (certificate, key) = pair();
        files(&directory, &certificate, &key);
        tokio::time::timeout(Duration::from_secs(10), config.changed()).await.unwrap().unwrap();
        assert!(!Arc::ptr_eq(&first, &config.borrow()));
        reload.abort();
    }
}
