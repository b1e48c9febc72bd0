//! Outgoing HTTP of all plugins: one pooled client for the process.
//!
//! A request is checked by name, its placeholders are filled in, and it goes out over a connection to an address that
//! this very call is granted. Every error says whether the server may have seen the request.

mod body;
mod connect;
mod connection;
mod error;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod memory;
mod pool;
mod prepare;
mod proxy;
mod response_masking;
mod route;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use tokio::time::timeout;

use crate::grants::{AnnouncedHosts, CallGrants};
use crate::secrets::CallSecrets;

use body::BufferedBody;
use connect::Connector;
use connection::SendOutcome;
use pool::Pool;
use prepare::PreparedRequest;
use route::Route;

pub use error::HttpError;
pub(crate) use error::{HttpErrorKind, RequestSent};
pub(crate) use memory::{BodyMemoryPool, CallBodyMemory};
pub(crate) use tls::TlsIdentity;

/// The body of a response.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, HttpError>;

/// The body of a request, once it is bounded.
type RequestBody = UnsyncBoxBody<Bytes, HttpError>;

/// Bytes of the host's memory for an exchange beside its bodies.
const EXCHANGE_OVERHEAD_BYTES: usize = 128 << 10;
/// Bytes of an answer that is read for announced hosts: that takes many times its size.
const MAX_CATALOGUE_BYTES: usize = 4 << 20;

/// Bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpLimits {
    /// Time for resolution, connection and TLS together.
    pub connect: Duration,
    /// Time from the connection to the head of the response.
    pub first_byte: Duration,
    /// Time between two pieces of the response's body.
    pub between_bytes: Duration,
    /// Bytes of the request's body.
    pub request_body: u64,
    /// Bytes of the response's body.
    pub response_body: u64,
}

/// HTTP client of the whole process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpClient {
    connector: Arc<Connector>,
    pool: Pool,
}

impl HttpClient {
    /// Creates a client without connections. It opens none until it is used.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sends a request of a caller that holds little in memory; see [`HttpClient::send_within`].
    ///
    /// # Errors
    /// Fails as [`HttpClient::send_within`] does.
    pub(crate) async fn send<B>(
        &self,
        request: Request<B>,
        grants: &CallGrants,
        secrets: Option<&CallSecrets>,
        limits: &HttpLimits,
    ) -> Result<Response<ResponseBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display + Send + Sync + 'static,
    {
        self.send_within(request, grants, secrets, limits, &CallBodyMemory::standalone()).await
    }

    /// Sends a request with an absolute `http` or `https` URI. Follows no redirect: that is a new request of the guest,
    /// checked like the first. Bodies that have to be held are taken from `memory` until the answer is read or dropped.
    ///
    /// # Errors
    /// Fails if the request is not granted or not valid, or if the exchange fails; [`HttpError::sent`] says whether the
    /// server may have seen the request.
    pub(crate) async fn send_within<B>(
        &self,
        request: Request<B>,
        grants: &CallGrants,
        secrets: Option<&CallSecrets>,
        limits: &HttpLimits,
        memory: &Arc<CallBodyMemory>,
    ) -> Result<Response<ResponseBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display + Send + Sync + 'static,
    {
        let route = Route::of(request.uri(), grants)?;
        let mut reservation = memory.reserve();
        reservation.try_grow(EXCHANGE_OVERHEAD_BYTES)?;
        let PreparedRequest { mut head, body } =
            prepare::prepare_request(request, &route, grants, secrets, limits, memory).await?;
        // A read without a body can be repeated; anything else is sent once.
        let repeatable = matches!(*head.method(), Method::GET | Method::HEAD) && body.is_end_stream();
        let mut body = Some(body);
        loop {
            let pooled = self.pool.take(&route, grants);
            let reused = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => self.connector.connect(&route, grants, limits.connect).await?,
            };
            let content = body.take().unwrap_or_else(|| Empty::new().map_err(|never| match never {}).boxed_unsync());
            let sending = connection.send(head.clone().map(|()| content), &route);
            match timeout(limits.first_byte, sending).await {
                Err(_) => return Err(HttpError::timeout(HttpErrorKind::FirstByteTimeout, &route, limits.first_byte)),
                Ok(SendOutcome::Answered(response)) => {
                    let announced = announcements(grants, &route).cloned();
                    self.pool.put_when_ready(route, connection);
                    let answer = prepare::prepare_response(response, limits, secrets, reservation)?;
                    return match announced {
                        Some(announced) => read_announcements(answer, &announced, memory).await,
                        None => Ok(answer),
                    };
                }
                // The server closed an idle connection: nothing of the request was sent.
                Ok(SendOutcome::NotSent(request)) if reused => {
                    let (parts, content) = request.into_parts();
                    head = Request::from_parts(parts, ());
                    body = Some(content);
                }
                Ok(SendOutcome::NotSent(_)) => {
                    let message = format!("{route} closed the connection before the request was sent");
                    return Err(HttpError::new(HttpErrorKind::Protocol, RequestSent::No, message));
                }
                Ok(SendOutcome::Failed(_)) if reused && repeatable => {}
                Ok(SendOutcome::Failed(error)) => return Err(HttpError::from_exchange(&route, &error)),
            }
        }
    }
}

/// Returns the `Host` of a URL to which the call may send its secrets.
///
/// # Errors
/// Fails if the URL is not valid, or the call may not send its secrets there.
pub(crate) fn host_for_secrets(url: &Uri, grants: &CallGrants) -> Result<String, HttpError> {
    let route = Route::of(url, grants)?;
    if let Route::Host { host, port, .. } = &route {
        grants.check_secrets(host, *port)?;
    }
    Ok(route.authority())
}

fn announcements<'a>(grants: &'a CallGrants, route: &Route) -> Option<&'a Arc<AnnouncedHosts>> {
    match route {
        Route::Host { host, port, .. } => grants.announcements_of(host, *port),
        Route::Socket(_) => None,
    }
}

/// Reads the whole answer before the plugin sees any of it: the plugin may connect to announced hosts at once.
async fn read_announcements(
    answer: Response<ResponseBody>,
    announced: &AnnouncedHosts,
    memory: &Arc<CallBodyMemory>,
) -> Result<Response<ResponseBody>, HttpError> {
    let (parts, content) = answer.into_parts();
    let whole = BufferedBody::collect(content, memory.reserve())
        .await
        .map_err(|error| HttpError { sent: RequestSent::Maybe, ..error })?;
    // Keystone lists its versions with `300 Multiple Choices`. An error may quote what the plugin sent.
    let may_announce = parts.status.is_success() || parts.status == StatusCode::MULTIPLE_CHOICES;
    if may_announce && whole.bytes.len() <= MAX_CATALOGUE_BYTES {
        announced.learn(&whole.bytes);
    }
    Ok(Response::from_parts(parts, whole.into_body()))
}

#[cfg(test)]
mod tests;
