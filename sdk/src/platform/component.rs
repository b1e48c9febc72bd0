//! The host of a component, through its imports.

use std::time::Duration;

use wstd::http::{Body, Client, ErrorCode, HeaderName, HeaderValue, Method, Request as WasiRequest};

use crate::bindings::imports::occopus::host::{cache, call, icmp, log as host_log, process, reveal, secrets};
use crate::bindings::imports::occopus::types::types as wit;
use crate::http::{HttpError, HttpErrorKind, Request, Response};
use crate::log::Level;
use crate::{Detail, Encoding, Fault};

impl From<wit::Fault> for Fault {
    fn from(fault: wit::Fault) -> Self {
        let detail = |detail: wit::Detail| Detail { pointer: detail.pointer, message: detail.message };
        Self {
            reaction: fault.reaction,
            code: fault.code,
            message: fault.message,
            retry_after: fault.retry_after_ms.map(Duration::from_millis),
            details: fault.details.into_iter().map(detail).collect(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) struct Context(pub(crate) call::Context);

impl Context {
    pub(crate) fn remaining_ms(&self) -> u64 {
        self.0.remaining_ms()
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    pub(crate) fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }

    pub(crate) fn progress(&self, phase: &str, detail: Option<&str>) {
        self.0.progress(phase, detail);
    }

    pub(crate) fn warn(&self, code: &str, message: &str, pointer: &str) {
        self.0.warn(code, message, pointer);
    }

    pub(crate) fn url_for(&self, endpoint: &str) -> Result<String, Fault> {
        Ok(self.0.url_for(endpoint)?)
    }
}

pub(crate) struct Credential(pub(crate) secrets::Credential);

impl Credential {
    pub(crate) fn fields(&self) -> Vec<String> {
        self.0.fields()
    }

    pub(crate) fn secret(&self, field: &str) -> Option<Secret> {
        self.0.secret(field).map(Secret)
    }

    pub(crate) fn public(&self, field: &str) -> Option<String> {
        self.0.public(field)
    }
}

pub(crate) struct Secret(secrets::Secret);

impl Secret {
    pub(crate) fn placeholder(&self, encoding: Encoding) -> String {
        self.0.placeholder(encoding)
    }

    pub(crate) fn basic(&self, user: &str) -> String {
        self.0.basic(user)
    }

    pub(crate) fn hmac_sha1(&self, message: &[u8]) -> Vec<u8> {
        self.0.hmac_sha1(message)
    }

    pub(crate) fn hmac_sha256(&self, prefix: &[u8], messages: &[Vec<u8>]) -> Vec<u8> {
        self.0.hmac_sha256(prefix, messages)
    }

    pub(crate) fn sha256(&self, before: &[u8], after: &[u8]) -> Vec<u8> {
        self.0.sha256(before, after)
    }

    pub(crate) fn rsa_sign(&self, digest_algorithm: &str, digest: &[u8]) -> Option<Vec<u8>> {
        self.0.rsa_sign(digest_algorithm, digest)
    }

    pub(crate) fn aws_sign(&self, request: &secrets::AwsRequest) -> Result<secrets::AwsSignature, Fault> {
        Ok(self.0.aws_sign(request)?)
    }

    pub(crate) fn reveal(&self) -> Result<String, Fault> {
        Ok(reveal::reveal(&self.0)?)
    }
}

pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
    host_log::write(level, message, fields);
}

pub(crate) fn cache_get(key: &str) -> Option<Vec<u8>> {
    cache::get(key)
}

pub(crate) fn cache_put(key: &str, value: &[u8], lifetime: Duration) {
    cache::put(key, value, millis(lifetime));
}

pub(crate) fn echo(address: &str, timeout: Duration) -> Result<Option<Duration>, Fault> {
    Ok(icmp::echo(address, millis(timeout))?.map(Duration::from_micros))
}

pub(crate) fn process_start(instance_id: &str, command: &process::Command) -> Result<process::Process, Fault> {
    Ok(process::start(instance_id, command)?)
}

pub(crate) fn process_inspect(instance_ids: &[String]) -> Result<Vec<process::Process>, Fault> {
    Ok(process::inspect(instance_ids)?)
}

pub(crate) fn process_stop(instance_id: &str, grace: Duration) -> Result<(), Fault> {
    Ok(process::stop(instance_id, millis(grace))?)
}

pub(crate) fn process_list_all(cursor: Option<&str>) -> Result<(Vec<process::Process>, Option<String>), Fault> {
    Ok(process::list_all(cursor)?)
}

pub(crate) fn process_endings(instance_ids: &[String]) -> Result<Vec<Option<process::Ending>>, Fault> {
    Ok(process::endings(instance_ids)?)
}

pub(crate) fn process_tail(instance_id: &str, lines: u32) -> Result<String, Fault> {
    Ok(process::tail(instance_id, lines)?)
}

pub(crate) fn send(request: Request) -> Result<Response, HttpError> {
    let unusable = |message: String| HttpError { kind: HttpErrorKind::NotSent, message };
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| unusable(format!("`{}` is not an HTTP method", request.method)))?;
    let mut wasi = WasiRequest::builder().method(method).uri(&request.url);
    for (name, value) in &request.headers {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable(format!("bad header name `{name}`")))?;
        let value = HeaderValue::from_str(value).map_err(|_| unusable(format!("bad value of header `{name}`")))?;
        wasi = wasi.header(name, value);
    }
    // Without a length the body goes in chunks, and servers take even an empty one for content.
    let has_content = !request.body.is_empty() || !matches!(request.method.as_str(), "GET" | "HEAD");
    let names_length = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if has_content && !names_length {
        wasi = wasi.header("content-length", request.body.len());
    }
    let wasi = wasi.body(Body::from(request.body)).map_err(|_| unusable(format!("`{}` is not a URL", request.url)))?;
    let mut client = Client::new();
    client.set_connect_timeout(wstd::time::Duration::from_millis(millis(request.connect_timeout)));
    client.set_first_byte_timeout(wstd::time::Duration::from_millis(millis(request.answer_timeout)));
    client.set_between_bytes_timeout(wstd::time::Duration::from_millis(millis(request.answer_timeout)));
    wstd::runtime::block_on(async {
        let answer = client.send(wasi).await.map_err(|error| explain(&error))?;
        let (head, mut body) = answer.into_parts();
        let body = body.contents().await.map_err(|error| HttpError {
            kind: HttpErrorKind::MaybeSent,
            message: format!("the answer broke off: {}", explain(&error).message),
        })?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: body.to_vec(),
        })
    })
}

/// Reads the host's error codes (`wasi:http`) as an answer to whether the server may have acted.
fn explain(error: &wstd::http::Error) -> HttpError {
    use HttpErrorKind::{MaybeSent, NotSent, Refused};
    let Some(code) = error.downcast_ref::<ErrorCode>() else {
        return HttpError { kind: MaybeSent, message: error.to_string() };
    };
    let (kind, message) = match code {
        ErrorCode::HttpRequestDenied => (Refused, "the host refused the request: its target is not granted".to_owned()),
        ErrorCode::DestinationIpProhibited => (Refused, "the host refused the address: it is not granted".to_owned()),
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) => (NotSent, "the name could not be resolved".to_owned()),
        ErrorCode::DestinationNotFound => (NotSent, "there is no such host or socket".to_owned()),
        ErrorCode::DestinationUnavailable => (NotSent, "the host is not available".to_owned()),
        ErrorCode::DestinationIpUnroutable => (NotSent, "there is no route to the host".to_owned()),
        ErrorCode::ConnectionRefused => (NotSent, "connection refused".to_owned()),
        ErrorCode::ConnectionTimeout => (NotSent, "the connection could not be made in time".to_owned()),
        ErrorCode::TlsProtocolError => (NotSent, "no TLS session could be made; is it `http://`?".to_owned()),
        ErrorCode::TlsCertificateError => (NotSent, "its certificate is not trusted on this machine".to_owned()),
        ErrorCode::TlsAlertReceived(_) => (NotSent, format!("TLS failed: {code}")),
        ErrorCode::HttpRequestUriInvalid => (NotSent, "the URL is not valid".to_owned()),
        ErrorCode::InternalError(Some(message)) => (MaybeSent, message.clone()),
        other => (MaybeSent, other.to_string()),
    };
    HttpError { kind, message }
}
