//! What goes over a limit, or breaks.

use std::error::Error;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::problem::Problem;

/// A request that goes over a limit, or breaks the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    /// The head is too large.
    #[error("the request has too many headers, or too large ones")]
    Headers,
    /// The body is too large.
    #[error("the request's body is larger than {limit} bytes")]
    Body {
        /// So large it may be.
        limit: usize,
    },
    /// The body takes too long to arrive.
    #[error("the request's body did not arrive within {} s", limit.as_secs_f32())]
    SlowBody {
        /// So long it may take.
        limit: Duration,
    },
    /// The answer takes too long.
    #[error("the request could not be answered within {} s", limit.as_secs_f32())]
    Slow {
        /// So long it may take.
        limit: Duration,
    },
    /// A mistake in this program.
    #[error("the request met a mistake in the service; its log has more")]
    Broken,
}

impl Overrun {
    /// What a body broke off for, among the reasons of an error.
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
    }

    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Headers => "request.headers",
            Self::Body { .. } => "request.body",
            Self::SlowBody { .. } => "request.slow",
            Self::Slow { .. } => "service.slow",
            Self::Broken => "service.broken",
        }
    }

    /// Of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Headers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Body { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Slow { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Overrun {
    fn into_response(self) -> Response {
        Problem::new(self.status(), self.code(), self.to_string()).into_response()
    }
}
