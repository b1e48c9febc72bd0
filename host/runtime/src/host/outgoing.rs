//! Outgoing `wasi:http`, through the host's one client.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::Call;
use crate::http::{HttpError, HttpErrorKind, HttpLimits, Sent};

pub(crate) struct Outgoing {
    call: Arc<Call>,
}

impl Outgoing {
    pub(crate) fn new(call: Arc<Call>) -> Self {
        Self { call }
    }
}

/// The end of the connection's work, of which the guest is told: nothing is left to do.
type Finished = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _received: Finished,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Finished), Error>> + Send> {
        let call = Arc::clone(&self.call);
        Box::new(async move {
            let options = options.unwrap_or_default();
            let limits = HttpLimits {
                connect: options.connect_timeout.unwrap_or(Duration::from_secs(10)),
                first_byte: options.first_byte_timeout.unwrap_or(Duration::from_secs(600)),
                between_bytes: options.between_bytes_timeout.unwrap_or(Duration::from_secs(600)),
                request_body: call.services.limits.request_body_bytes,
                response_body: call.services.limits.response_body_bytes,
            };
            let (parts, body) = request.into_parts();
            let request = http::Request::from_parts(parts, body.map_err(|error| format!("{error:?}")));
            // Counted before it may leave: a call that is ended in between has an unknown outcome.
            call.sent.fetch_add(1, Ordering::Relaxed);
            let answer = call.services.http.send(request, &call.grants, call.secrets.as_ref(), &limits).await;
            note(&call, answer.as_ref().err());
            let answer = answer.map_err(|error| explain(&call, &error))?;
            let answer =
                answer.map(|body| body.map_err(|error| Error::InternalError(Some(error.to_string()))).boxed_unsync());
            Ok((answer, Box::new(async { Ok(()) }) as Finished))
        })
    }
}

/// Remembers whether a server may have seen the request, and whether there was one.
fn note(call: &Call, error: Option<&HttpError>) {
    let not_sent = error.is_some_and(|error| error.sent == Sent::No);
    if not_sent {
        call.sent.fetch_sub(1, Ordering::Relaxed);
    }
    call.unreachable.store(not_sent, Ordering::Relaxed);
}

/// In the words of `wasi:http`. A refusal's reasons are for the operator, not for the plugin.
fn explain(call: &Call, error: &HttpError) -> Error {
    match error.kind {
        HttpErrorKind::Refused => {
            tracing::warn!(plugin = %call.plugin, "{error}");
            call.refused(error.to_string());
            Error::HttpRequestDenied
        }
        HttpErrorKind::InvalidRequest => Error::HttpRequestUriInvalid,
        HttpErrorKind::Dns => Error::DnsError { rcode: Some(error.to_string()), info_code: None },
        HttpErrorKind::Connect => Error::ConnectionRefused,
        HttpErrorKind::Tls => Error::TlsProtocolError,
        HttpErrorKind::Certificate => Error::TlsCertificateError,
        HttpErrorKind::ConnectTimeout => Error::ConnectionTimeout,
        HttpErrorKind::RequestTooLarge => Error::HttpRequestBodySize(None),
        HttpErrorKind::ResponseTooLarge => Error::HttpResponseBodySize(None),
        HttpErrorKind::FirstByteTimeout | HttpErrorKind::BetweenBytesTimeout | HttpErrorKind::Protocol => {
            Error::InternalError(Some(error.to_string()))
        }
    }
}
