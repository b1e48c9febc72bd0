//! Error pages.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use occopus_engine::InfrastructureId;

use super::shell::{Shell, html};
use crate::access::AccessError;
use crate::path_id::parse_path_id;
use crate::problem::ApiError;

/// An error, shown as a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct PageError {
    /// HTTP status of the response.
    pub(crate) status: StatusCode,
    /// Text of the error.
    pub(crate) text: String,
    /// Advice on how to solve it.
    pub(crate) help: Option<String>,
}

impl PageError {
    /// Returns an error without help.
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), help: None }
    }

    /// Returns the error for an infrastructure that does not exist, or that the caller may not see.
    pub(super) fn unknown(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no infrastructure with the id {id}."))
    }
}

/// Parses an id from the path of a page; one that is not valid is unknown.
pub(super) fn parse_id(id: &str) -> Result<InfrastructureId, PageError> {
    parse_path_id(id).map_err(|_| PageError::unknown(id))
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        let status = error.status();
        let details = error.into_details();
        Self { status, text: details.text(), help: details.help }
    }
}

impl From<AccessError> for PageError {
    fn from(error: AccessError) -> Self {
        Self { status: error.status(), text: error.to_string(), help: error.help().map(Into::into) }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct Page {
    shell: Shell,
    text: String,
    help: Option<String>,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let page = Page { shell: Shell::anonymous(title), text: self.text, help: self.help };
        (self.status, html(&page)).into_response()
    }
}

/// Returns the error for a path that is not a page.
pub(super) async fn not_found() -> PageError {
    PageError::new(StatusCode::NOT_FOUND, "There is no such page.")
}
