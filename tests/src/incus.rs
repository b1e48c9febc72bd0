//! Incus (<https://linuxcontainers.org/incus>): a cloud that authenticates clients by their certificates.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::processes::signal;
use crate::skip;
use crate::wait::wait_for;

/// Path of the program on Debian.
const INSTALLED: &str = "/usr/libexec/incus/incusd";

/// A server of one test. Ends when dropped.
pub struct Incus {
    /// `https://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The server's own certificate, in PEM.
    pub authority: String,
    /// A certificate that the server trusts, and its key, in PEM.
    pub client: (String, String),
    server: Child,
    directory: TempDir,
}

impl Incus {
    /// Starts `incusd` (or what `INCUSD` names), as root. Returns `None`, and reports the cause, if it does not start.
    ///
    /// # Panics
    /// Panics if it starts and a request fails.
    pub fn start(test: &str) -> Option<Self> {
        let program = std::env::var("INCUSD").unwrap_or_else(|_| INSTALLED.to_owned());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        std::fs::create_dir(&state).expect("a directory");
        let log = directory.path().join("log");
        let started = Command::new(&program)
            .args(["--group", "root", "--logfile"])
            .arg(&log)
            .env("INCUS_DIR", &state)
            .env("INCUS_EXEC_PATH", &program)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(server) = started else {
            skip(
                test,
                &format!("no Incus: `{program}` does not start (Debian: incus-base; INCUSD may name the program)"),
            );
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let endpoint = format!("https://127.0.0.1:{port}");
        let (authority, client) = (String::new(), client());
        let mut incus = Self { endpoint, authority, client, server, directory };
        let log = || std::fs::read_to_string(&log).unwrap_or_default();
        wait_for(&format!("{program} answers"), log, || {
            let has_ended = incus.server.try_wait().is_ok_and(|ended| ended.is_some());
            assert!(!has_ended, "{program} has ended: {}", log());
            (incus.ask("GET", "/1.0", "") == Some(200)).then_some(())
        });
        let trust = format!(r#"{{"type":"client","name":"test","certificate":"{}"}}"#, der(&incus.client.0));
        assert_eq!(incus.ask("POST", "/1.0/certificates", &trust), Some(201));
        let listen = format!(r#"{{"config":{{"core.https_address":"127.0.0.1:{port}"}}}}"#);
        assert_eq!(incus.ask("PATCH", "/1.0", &listen), Some(200));
        incus.authority = std::fs::read_to_string(state.join("server.crt")).expect("the server's certificate");
        Some(incus)
    }

    /// Sends a request over the socket, on which every client is trusted, and returns the status.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<u16> {
        let mut stream = UnixStream::connect(self.state().join("unix.socket")).ok()?;
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: incus\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }
}

impl Drop for Incus {
    fn drop(&mut self) {
        // Nothing runs in it: it ends at once, and unmounts its file systems.
        signal(self.server.id(), "TERM");
        let _ = self.server.wait();
    }
}

/// Returns a self-signed certificate and its key.
fn client() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["client".to_owned()]).expect("parameters");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

/// Returns the body of a PEM text: base64 of DER.
fn der(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect()
}
