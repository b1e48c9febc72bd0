//! What goes over a limit, or breaks.

use std::error::Error;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::problem::ApiError;

/// A request that goes over a limit, or breaks the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// The head is too large.
    #[error("the request has too many headers, or too large ones")]
    HeadersTooLarge,
    /// The body is too large.
    #[error("the request's body is larger than {limit} bytes")]
    BodyTooLarge {
        /// So large it may be.
        limit: usize,
    },
    /// The body takes too long to arrive.
    #[error("the request's body did not arrive within {} s", limit.as_secs_f32())]
    BodyTimeout {
        /// So long it may take.
        limit: Duration,
    },
    /// The answer takes too long.
    #[error("the request could not be answered within {} s", limit.as_secs_f32())]
    RequestTimeout {
        /// So long it may take.
        limit: Duration,
    },
    /// A mistake in this program.
    #[error("the request met a mistake in the service; its log has more")]
    Panicked,
}

impl LimitExceeded {
    /// What a body broke off for, among the reasons of an error.
    pub fn find_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
    }

    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HeadersTooLarge => "request.headers",
            Self::BodyTooLarge { .. } => "request.body",
            Self::BodyTimeout { .. } => "request.slow",
            Self::RequestTimeout { .. } => "service.slow",
            Self::Panicked => "service.broken",
        }
    }

    /// Of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::RequestTimeout { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for LimitExceeded {
    fn into_response(self) -> Response {
        ApiError::new(self.status(), self.code(), self.to_string()).into_response()
    }
}
