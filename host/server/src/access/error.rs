//! Why a request is not let in.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::{Scope, TokenError};
use crate::problem::ApiError;

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Without a token, or with a wrong one. Which of these is nobody's business.
    #[error("a token is needed: there is none, or it is unknown, expired or revoked")]
    Unauthenticated,
    /// The token does not allow that much.
    #[error("this needs a token with the scope `{needed}`")]
    Scope {
        /// What would be enough.
        needed: Scope,
    },
    /// The token is for other infrastructures.
    #[error("this token is not for the infrastructure {id}")]
    Infrastructure {
        /// The infrastructure.
        id: String,
    },
    /// The token is for some infrastructures, and this is about all.
    #[error("this concerns all infrastructures, and this token is limited to some")]
    NotUnlimited,
    /// A page of another web site sent it.
    #[error("a page of another web site sent this request")]
    Origin,
    /// It was sent to a name that is not ours.
    #[error("this service does not answer to the host that the request names")]
    Host,
    /// Too much in too short a time.
    #[error("too many requests in too short a time")]
    RateLimited {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// Too much at the same time.
    #[error("too many requests and event streams of this caller, or of all, are open at the same time")]
    ConcurrencyLimited,
    /// It can't be found out now whether the token is good.
    #[error("tokens can't be checked now, because the store does not answer")]
    StoreUnavailable,
}

impl AccessError {
    /// For programs.
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

    /// Of the answer.
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

    /// How to mend it.
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

    /// Headers that go with the answer, whatever its body is.
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

/// Rounded up, so that who waits that long is let in.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl IntoResponse for AccessError {
    fn into_response(self) -> Response {
        ApiError::from(self).into_response()
    }
}
