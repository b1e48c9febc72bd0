//! Outgoing HTTP of all plugins: one pooled client for the process.
//!
//! A request is checked by name, its placeholders are filled in, and it goes out over a connection to an address that this
//! very call is granted. Whatever fails says whether the server may have seen the request.

mod body;
mod connect;
mod connection;
mod error;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod masked;
mod memory;
mod pool;
mod prepare;
mod proxy;
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

use crate::grants::{Announced, CallGrants};
use crate::secrets::CallSecrets;

use body::Whole;
use connect::Connector;
use connection::Exchange;
use pool::Pool;
use prepare::Prepared;
use route::Route;

pub use error::{HttpError, HttpErrorKind, Sent};
pub use memory::{CallMemory, Memory};
pub use tls::Identity;

/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Bytes, HttpError>;

/// The body of a request, once it is bounded.
type RequestBody = UnsyncBoxBody<Bytes, HttpError>;

/// Bytes of the host's memory for an exchange beside its bodies.
const EXCHANGE: usize = 128 << 10;
/// Nothing is learnt from longer answers: it takes many times their size.
const LONGEST_CATALOGUE: usize = 4 << 20;

/// Bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// For resolution, connection and TLS together.
    pub connect: Duration,
    /// From the connection to the head of the response.
    pub first_byte: Duration,
    /// Between two pieces of the response's body.
    pub between_bytes: Duration,
    /// Bytes of the request's body.
    pub request_body: u64,
    /// Bytes of the response's body.
    pub response_body: u64,
}

/// One client for the whole process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct HttpClient {
    connector: Arc<Connector>,
    pool: Pool,
}

impl HttpClient {
    /// A client without connections. Opens nothing until it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a request of a caller that holds little in memory; see [`HttpClient::send_within`].
    pub async fn send<B>(
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
        self.send_within(request, grants, secrets, limits, &CallMemory::alone()).await
    }

    /// Sends a request with an absolute `http` or `https` URI. Follows no redirect: that is a new request of the guest,
    /// checked like the first. What has to be held of bodies is taken from this memory until the answer is read or dropped.
    pub async fn send_within<B>(
        &self,
        request: Request<B>,
        grants: &CallGrants,
        secrets: Option<&CallSecrets>,
        limits: &HttpLimits,
        memory: &Arc<CallMemory>,
    ) -> Result<Response<ResponseBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display + Send + Sync + 'static,
    {
        let route = Route::of(request.uri(), grants)?;
        let mut share = memory.share();
        share.grow(EXCHANGE)?;
        let Prepared { mut head, body } = prepare::prepare(request, &route, grants, secrets, limits, memory).await?;
        // A question without a body can be asked again; anything else is sent once.
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
                Ok(Exchange::Answered(response)) => {
                    let announced = announcements(grants, &route).cloned();
                    self.pool.put_when_ready(route, connection);
                    let answer = prepare::answer(response, limits, secrets, share)?;
                    return match announced {
                        Some(announced) => read_announcements(answer, &announced, memory).await,
                        None => Ok(answer),
                    };
                }
                // The server closed a connection that was kept for later: nothing of the request has left.
                Ok(Exchange::NotSent(request)) if reused => {
                    let (parts, content) = request.into_parts();
                    head = Request::from_parts(parts, ());
                    body = Some(content);
                }
                Ok(Exchange::NotSent(_)) => {
                    let message = format!("{route} closed the connection before the request was sent");
                    return Err(HttpError::new(HttpErrorKind::Protocol, Sent::No, message));
                }
                Ok(Exchange::Failed(_)) if reused && repeatable => {}
                Ok(Exchange::Failed(error)) => return Err(HttpError::of_exchange(&route, &error)),
            }
        }
    }
}

/// The `Host` of a URL to which the call may send its secrets.
///
/// # Errors
/// When it may not.
pub(crate) fn host_for_secrets(url: &Uri, grants: &CallGrants) -> Result<String, HttpError> {
    let route = Route::of(url, grants)?;
    if let Route::Host { host, port, .. } = &route {
        grants.check_secrets(host, *port)?;
    }
    Ok(route.authority())
}

fn announcements<'a>(grants: &'a CallGrants, route: &Route) -> Option<&'a Arc<Announced>> {
    match route {
        Route::Host { host, port, .. } => grants.announcements_of(host, *port),
        Route::Socket(_) => None,
    }
}

/// Takes the answer in before the plugin sees any of it: what it names may be asked at once.
async fn read_announcements(
    answer: Response<ResponseBody>,
    announced: &Announced,
    memory: &Arc<CallMemory>,
) -> Result<Response<ResponseBody>, HttpError> {
    let (parts, content) = answer.into_parts();
    let whole = Whole::of(content, memory.share()).await.map_err(|error| HttpError { sent: Sent::Maybe, ..error })?;
    // Keystone lists its versions with `300 Multiple Choices`. An error may quote what the plugin sent.
    let names = parts.status.is_success() || parts.status == StatusCode::MULTIPLE_CHOICES;
    if names && whole.bytes.len() <= LONGEST_CATALOGUE {
        announced.learn(&whole.bytes);
    }
    Ok(Response::from_parts(parts, whole.body()))
}

#[cfg(test)]
mod tests;
