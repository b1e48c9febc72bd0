//! Outgoing `wasi:http`, through the host's one client.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView as _};

use super::{Call, HostState};
use crate::http::{HttpError, HttpErrorKind, HttpLimits, RequestSent};

/// Interface in which Wasmtime's function is replaced, in the version that Wasmtime links.
const OUTGOING_HANDLER_INTERFACE: &str = "wasi:http/outgoing-handler@0.2.12";

/// Replaces the function by one that sends a request as Wasmtime does, and frees the handle of its options. Wasmtime
/// (48) takes the options from the guest and leaves them in the table of resources, so that each request with a
/// time-out would use up a handle for good.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> Result<()> {
    type Parameters = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
    type Answer = std::result::Result<Resource<HostFutureIncomingResponse>, ErrorCode>;
    linker.instance(OUTGOING_HANDLER_INTERFACE)?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, HostState>, (request, options): Parameters| -> Result<(Answer,)> {
            let state = store.data_mut();
            let given = options.as_ref().map(|options| Resource::<RequestOptions>::new_own(options.rep()));
            let answer = state.http().handle(request, options);
            if let Some(options) = given {
                state.table.delete(options)?;
            }
            Ok((match answer {
                Ok(response) => Ok(response),
                Err(error) => Err(error.downcast()?),
            },))
        },
    )
}

pub(crate) struct HttpHooks {
    call: Arc<Call>,
}

impl HttpHooks {
    pub(crate) fn new(call: Arc<Call>) -> Self {
        Self { call }
    }
}

/// Future of the remaining work on the connection, which the guest drives: none is left.
type Finished = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for HttpHooks {
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
            // Counted before it may be sent: a call that is interrupted in between has an unknown outcome.
            call.possible_effects.fetch_add(1, Ordering::Relaxed);
            let (secrets, memory) = (call.secrets.as_ref(), &call.body_memory);
            let answer = call.services.http.send_within(request, &call.grants, secrets, &limits, memory).await;
            record_outcome(&call, answer.as_ref().err());
            let answer = answer.map_err(|error| to_wasi_error(&call, &error))?;
            let answer =
                answer.map(|body| body.map_err(|error| Error::InternalError(Some(error.to_string()))).boxed_unsync());
            Ok((answer, Box::new(async { Ok(()) }) as Finished))
        })
    }
}

/// Records whether a server may have seen the request, whether it was sent at all, and whether a repetition can help.
fn record_outcome(call: &Call, error: Option<&HttpError>) {
    let not_sent = error.is_some_and(|error| error.sent == RequestSent::No);
    if not_sent {
        call.possible_effects.fetch_sub(1, Ordering::Relaxed);
    }
    call.unreachable.store(not_sent, Ordering::Relaxed);
    *call.permanent_code.lock().unwrap_or_else(PoisonError::into_inner) =
        error.and_then(|error| error.kind.permanent_code());
}

/// Converts an error for `wasi:http`. The reasons of a refusal are recorded for the operator, and not shown to the
/// plugin.
fn to_wasi_error(call: &Call, error: &HttpError) -> Error {
    match error.kind {
        HttpErrorKind::NotGranted => {
            call.record_refusal(&error.to_string());
            Error::HttpRequestDenied
        }
        HttpErrorKind::InvalidRequest => Error::HttpRequestUriInvalid,
        HttpErrorKind::Dns => Error::DnsError { rcode: Some(error.to_string()), info_code: None },
        HttpErrorKind::Connect => Error::ConnectionRefused,
        HttpErrorKind::NoRoute => Error::DestinationIpUnroutable,
        HttpErrorKind::NoSocket | HttpErrorKind::NoSocketDirectory => {
            call.record_refusal(&error.to_string());
            Error::DestinationNotFound
        }
        HttpErrorKind::SocketDenied => {
            call.record_refusal(&error.to_string());
            Error::DestinationUnavailable
        }
        HttpErrorKind::Proxy => {
            call.record_refusal(&error.to_string());
            Error::ConnectionRefused
        }
        HttpErrorKind::Tls => {
            call.record_refusal(&error.to_string());
            Error::TlsProtocolError
        }
        HttpErrorKind::Certificate => {
            call.record_refusal(&error.to_string());
            Error::TlsCertificateError
        }
        HttpErrorKind::ConnectTimeout => Error::ConnectionTimeout,
        HttpErrorKind::RequestTooLarge => Error::HttpRequestBodySize(None),
        HttpErrorKind::ResponseTooLarge => Error::HttpResponseBodySize(None),
        HttpErrorKind::OutOfMemory => {
            call.record_refusal(&format!("plugin `{}`: {error} (`limits.held_body_bytes`)", call.plugin));
            Error::InternalError(Some(error.to_string()))
        }
        HttpErrorKind::FirstByteTimeout | HttpErrorKind::BetweenBytesTimeout | HttpErrorKind::Protocol => {
            Error::InternalError(Some(error.to_string()))
        }
    }
}
