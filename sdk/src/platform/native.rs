//! The host of a test: the fake of this thread.

use std::time::Duration;

use crate::http::{HttpError, Request, Response};
use crate::log::Level;
use crate::process;
use crate::testing::{FakeHost, with};
use crate::{AwsRequest, AwsSignature, Encoding, Fault};

pub(crate) struct Context(pub(crate) ());

impl Context {
    pub(crate) fn remaining_ms(&self) -> u64 {
        with(|host| host.remaining_ms)
    }

    pub(crate) fn cancelled(&self) -> bool {
        with(|host| host.cancelled)
    }

    pub(crate) fn wait(&self, time: Duration) {
        if with(|host| host.time_passes) {
            std::thread::sleep(time);
        }
    }

    pub(crate) fn progress(&self, phase: &str, detail: Option<&str>) {
        with(|host| host.progress.push((phase.to_owned(), detail.map(str::to_owned))));
    }

    pub(crate) fn warn(&self, code: &str, message: &str, pointer: &str) {
        with(|host| host.warnings.push((code.to_owned(), message.to_owned(), pointer.to_owned())));
    }

    /// Returns the URL as the host does, but the path of a unix socket stays readable: `http://unix-PATH`, slashes as
    /// dashes.
    pub(crate) fn url_for(&self, endpoint: &str) -> Result<String, Fault> {
        let endpoint = endpoint.trim_end_matches('/');
        match endpoint.split_once("://") {
            Some(("http" | "https", _)) => Ok(endpoint.to_owned()),
            Some(("tcp", target)) => Ok(format!("http://{target}")),
            Some(("unix", path)) => Ok(format!("http://unix{}", path.replace('/', "-"))),
            None if endpoint.contains(':') => Ok(format!("http://{endpoint}")),
            _ => {
                Err(Fault::give_up("occopus.bad-endpoint", format!("`{endpoint}` is not an endpoint"))
                    .at("/endpoint", ""))
            }
        }
    }
}

pub(crate) struct Credential(pub(crate) ());

impl Credential {
    pub(crate) fn fields(&self) -> Vec<String> {
        with(|host| host.credential.keys().cloned().collect())
    }

    pub(crate) fn secret(&self, field: &str) -> Option<Secret> {
        with(|host| host.credential.contains_key(field)).then(|| Secret(field.to_owned()))
    }

    pub(crate) fn public(&self, field: &str) -> Option<String> {
        with(|host| host.credential.get(field).cloned())
    }
}

/// A secret whose placeholders and signatures are readable, so that tests can compare them: `<secret FIELD>`.
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn placeholder(&self, _encoding: Encoding) -> String {
        format!("<secret {}>", self.0)
    }

    pub(crate) fn basic(&self, user: &str) -> String {
        format!("<basic {user}:{}>", self.0)
    }

    pub(crate) fn hmac_sha1(&self, message: &[u8]) -> Vec<u8> {
        format!("<hmac-sha1 {} {}>", self.0, String::from_utf8_lossy(message)).into_bytes()
    }

    pub(crate) fn hmac_sha256(&self, prefix: &[u8], messages: &[Vec<u8>]) -> Vec<u8> {
        let mut text = format!("<hmac-sha256 {}{}", String::from_utf8_lossy(prefix), self.0);
        for message in messages {
            text.push(' ');
            text.push_str(&String::from_utf8_lossy(message));
        }
        (text + ">").into_bytes()
    }

    pub(crate) fn sha256(&self, before: &[u8], after: &[u8]) -> Vec<u8> {
        let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
        format!("<sha256 {before}<{}>{after}>", self.0).into_bytes()
    }

    pub(crate) fn rsa_sign(&self, digest_algorithm: &str, digest: &[u8]) -> Option<Vec<u8>> {
        Some(format!("<rsa {} {digest_algorithm} {}>", self.0, digest.len()).into_bytes())
    }

    pub(crate) fn aws_sign(&self, request: &AwsRequest) -> Result<AwsSignature, Fault> {
        let own = ["host".to_owned(), "x-amz-date".to_owned()];
        let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.to_lowercase()).chain(own).collect();
        names.sort();
        let scope = format!("20260131/{}/{}/aws4_request", request.region, request.service);
        Ok(AwsSignature {
            date: "20260131T120000Z".to_owned(),
            signature: format!("<aws {} {} {}>", self.0, request.method, request.url),
            scope,
            signed_headers: names.join(";"),
        })
    }

    pub(crate) fn reveal(&self) -> Result<String, Fault> {
        Err(Fault::denied("occopus.not-granted", "reveal is not granted"))
    }
}

pub(crate) fn log(_level: Level, message: &str, _fields: &[(String, String)]) {
    with(|host| host.log.push(message.to_owned()));
}

pub(crate) fn cache_get(key: &str) -> Option<Vec<u8>> {
    with(|host| host.cache.get(key).cloned())
}

pub(crate) fn cache_put(key: &str, value: &[u8], _lifetime: Duration) {
    with(|host| host.cache.insert(key.to_owned(), value.to_vec()));
}

pub(crate) fn echo(address: &str, _timeout: Duration) -> Result<Option<Duration>, Fault> {
    with(|host| Ok(host.reachable.iter().any(|known| known == address).then_some(Duration::from_millis(1))))
}

pub(crate) fn process_start(instance_id: &str, command: &process::Command) -> Result<process::Process, Fault> {
    with(|host| host.start(instance_id, command))
}

pub(crate) fn process_inspect(instance_ids: &[String]) -> Result<Vec<process::Process>, Fault> {
    with(|host| Ok(instance_ids.iter().map(|id| host.process(id)).collect()))
}

pub(crate) fn process_stop(instance_id: &str, _grace: Duration) -> Result<(), Fault> {
    with(|host| {
        host.processes.remove(instance_id);
        Ok(())
    })
}

pub(crate) fn process_list_all(_cursor: Option<&str>) -> Result<(Vec<process::Process>, Option<String>), Fault> {
    with(|host| Ok((host.processes.values().cloned().collect(), None)))
}

pub(crate) fn process_endings(instance_ids: &[String]) -> Result<Vec<Option<process::Ending>>, Fault> {
    with(|host| Ok(instance_ids.iter().map(|id| host.endings.get(id).copied()).collect()))
}

pub(crate) fn process_tail(instance_id: &str, lines: u32) -> Result<String, Fault> {
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    with(|host| {
        let written: Vec<&str> = host.outputs.get(instance_id).map_or(Vec::new(), |text| text.lines().collect());
        Ok(written[written.len().saturating_sub(lines)..].join("\n"))
    })
}

/// Sends a request to the test's handler, which is cloned first, since it may call back.
pub(crate) fn send(request: Request) -> Result<Response, HttpError> {
    let handler = with(|host: &mut FakeHost| {
        host.requests.push(request.clone());
        host.http.clone()
    });
    handler(&request)
}
