//! Proxies that the operator's environment names: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, also in small
//! letters.

use std::net::IpAddr;

use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::error::error_chain;
use super::route::Route;
use super::{HttpError, HttpErrorKind, RequestSent};

/// Proxies of the environment, by target.
#[derive(Debug)]
pub(super) struct Proxies(Matcher);

/// A proxy on the way to a server.
pub(super) struct Proxy(Intercept);

impl Default for Proxies {
    fn default() -> Self {
        Self(Matcher::from_env())
    }
}

impl Proxies {
    #[cfg(test)]
    pub(super) fn all_by(proxy: &str) -> Self {
        Self(Matcher::builder().all(proxy.to_owned()).no("direct.test").build())
    }

    /// Returns the proxy for a server; none for this machine, and if none is named.
    pub(super) fn of(&self, route: &Route) -> Option<Proxy> {
        let Route::Host { tls, host, .. } = route else { return None };
        let is_local = match literal_address(host) {
            Some(address) => address.to_canonical().is_loopback(),
            None => host.trim_end_matches('.').rsplit('.').next() == Some("localhost"),
        };
        let scheme = if *tls { "https" } else { "http" };
        let uri = format!("{scheme}://{}", route.authority()).parse::<Uri>().ok()?;
        (!is_local).then(|| self.0.intercept(&uri)).flatten().map(Proxy)
    }
}

/// Returns the address that is written in place of a name, also in the forms that the C library reads (`0x7f.1`).
pub(super) fn literal_address(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    match url::Host::parse(host).ok()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}

impl Proxy {
    /// Returns its host and port.
    ///
    /// # Errors
    /// Fails if its scheme is not `http`.
    pub(super) fn address(&self) -> Result<(&str, u16), HttpError> {
        let uri = self.0.uri();
        if uri.scheme_str() != Some("http") {
            let scheme = uri.scheme_str().unwrap_or_default();
            let message = format!(
                "the environment names a `{scheme}://` proxy, but only `http://` proxies are supported; NO_PROXY names the \
                 hosts that are reached without one"
            );
            return Err(HttpError::new(HttpErrorKind::Proxy, RequestSent::No, message));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        Ok((host, uri.port_u16().unwrap_or(80)))
    }

    /// Returns our credentials for the proxy.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.0.basic_auth().cloned().map(|mut value| {
            value.set_sensitive(true);
            value
        })
    }

    /// Opens a tunnel through the proxy to a server (RFC 9110, section 9.3.6).
    pub(super) async fn tunnel(&self, stream: TcpStream, route: &Route) -> Result<TokioIo<Upgraded>, HttpError> {
        let failed =
            |message: String| HttpError::new(HttpErrorKind::Proxy, RequestSent::No, format!("the proxy: {message}"));
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error_chain(&error)))?;
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        let target = route.to_string();
        let mut request = Request::builder().method(Method::CONNECT).uri(&target).header(HOST, &target);
        if let Some(value) = self.authorization() {
            request = request.header(PROXY_AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(error_chain(&error)))?;
        if !answer.status().is_success() {
            return Err(failed(format!("it answers {} to CONNECT {target}", answer.status())));
        }
        hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(|error| failed(error_chain(&error)))
    }
}
