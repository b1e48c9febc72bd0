//! Errors of requests that exceed a limit, or whose handler panics.

use std::error::Error;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::problem::ApiError;

/// Failure of a request that exceeds a limit, or whose handler panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// Head with too many or too large headers.
    #[error("the request has too many headers, or too large ones")]
    HeadersTooLarge,
    /// Body that is too large.
    #[error("the request's body is larger than {limit} bytes")]
    BodyTooLarge {
        /// Limit in bytes.
        limit: usize,
    },
    /// Body that takes too long to arrive.
    #[error("the request's body did not arrive within {} s", limit.as_secs_f32())]
    BodyTimeout {
        /// Time limit.
        limit: Duration,
    },
    /// Response that takes too long.
    #[error("the request could not be answered within {} s", limit.as_secs_f32())]
    RequestTimeout {
        /// Time limit.
        limit: Duration,
    },
    /// Panic of a handler: a bug in this program.
    #[error("internal error: the service failed to handle the request; its log has the details")]
    Panicked,
}

impl LimitExceeded {
    /// Finds the exceeded limit in an error or its sources.
    pub fn find_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
    }

    /// Returns the error code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HeadersTooLarge => "request.headers",
            Self::BodyTooLarge { .. } => "request.body",
            Self::BodyTimeout { .. } => "request.slow",
            Self::RequestTimeout { .. } => "service.slow",
            Self::Panicked => "service.broken",
        }
    }

    /// Returns the status of the response.
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
