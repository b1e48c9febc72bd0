//! Errors of requests that access control rejects.

use std::time::Duration;

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::{Scope, TokenError};

/// Rejection of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Missing or invalid token. The response does not reveal which.
    #[error("a valid token is required: the request has none, or it is unknown, expired or revoked")]
    Unauthenticated,
    /// Insufficient scope of the token.
    #[error("this needs a token with the scope `{needed}`")]
    Scope {
        /// Scope that is needed.
        needed: Scope,
    },
    /// Token that is limited to other infrastructures.
    #[error("this token is not for the infrastructure {id}")]
    Infrastructure {
        /// Id of the infrastructure.
        id: String,
    },
    /// Token that is limited to some infrastructures, with a request that concerns all.
    #[error("this request concerns all infrastructures, and its token is limited to some")]
    NotUnlimited,
    /// Request from a page of another web site.
    #[error("a page of another web site sent this request")]
    Origin,
    /// Request to a host name that is not allowed.
    #[error("this service does not answer to the host that the request names")]
    Host,
    /// Rate limit exceeded.
    #[error("too many requests in too short a time")]
    RateLimited {
        /// Time until the next attempt may succeed.
        retry_after: Duration,
    },
    /// Limit of concurrent requests and event streams reached.
    #[error("too many requests and event streams of this caller, or of all, are open at the same time")]
    ConcurrencyLimited,
    /// Token that can't be verified, since the store fails.
    #[error("tokens can't be checked now, because the store does not answer")]
    StoreUnavailable,
}

impl AccessError {
    /// Returns the error code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "access.unauthenticated",
            Self::Scope { .. } => "access.scope",
            Self::Infrastructure { .. } => "access.infrastructure",
            Self::NotUnlimited => "access.limited",
            Self::Origin => "access.origin",
            Self::Host => "access.host",
            Self::RateLimited { .. } => "access.too-many",
            Self::ConcurrencyLimited => "access.full",
            Self::StoreUnavailable => "access.unknown",
        }
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Scope { .. } | Self::Infrastructure { .. } | Self::NotUnlimited | Self::Origin => {
                StatusCode::FORBIDDEN
            }
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::RateLimited { .. } | Self::ConcurrencyLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns advice on how to resolve the error, if there is any.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated => Some(
                "`occopus token create NAME --scope read` makes a token where the service runs; \
                 send it as `Authorization: Bearer TOKEN`",
            ),
            Self::Origin => Some("the operator of the service can allow origins: `cors_origins` in its configuration"),
            Self::ConcurrencyLimited => {
                Some("end some of them, or let the operator allow more streams: `streams_per_token`")
            }
            Self::Host => Some("on a loopback address it is `localhost`, or an address; others must be configured"),
            _ => None,
        }
    }

    /// Returns the header that the response carries, whatever its body is.
    pub fn headers(&self) -> Option<(http::HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated => Some((WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="occopus""#))),
            Self::RateLimited { retry_after } => Some((RETRY_AFTER, whole_seconds(*retry_after).into())),
            Self::ConcurrencyLimited | Self::StoreUnavailable => Some((RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => None,
        }
    }
}

impl From<TokenError> for AccessError {
    fn from(error: TokenError) -> Self {
        tracing::error!(%error, "tokens can't be checked");
        Self::StoreUnavailable
    }
}

/// Rounds up to whole seconds, so that a client that waits that long is admitted.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
