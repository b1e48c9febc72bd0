//! Pages that can't be shown.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::shell::{Shell, html};
use crate::access::AccessError;
use crate::problem::ApiError;

/// Why a page can't be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PageError {
    /// Of the answer.
    pub status: StatusCode,
    /// In words.
    pub text: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl PageError {
    /// Without help.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), help: None }
    }

    /// There is no infrastructure with this id, or the caller may not see it.
    pub(super) fn unknown(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no infrastructure with the id {id}."))
    }
}

impl From<ApiError> for PageError {
    fn from(problem: ApiError) -> Self {
        let status = problem.status();
        let (text, help) = problem.into_details().into_text();
        Self { status, text, help }
    }
}

impl From<AccessError> for PageError {
    fn from(refusal: AccessError) -> Self {
        Self { status: refusal.status(), text: refusal.to_string(), help: refusal.help().map(Into::into) }
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Page {
    shell: Shell,
    text: String,
    help: Option<String>,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Trouble");
        let page = Page { shell: Shell::anonymous(title), text: self.text, help: self.help };
        (self.status, html(&page)).into_response()
    }
}

/// For all that is no page.
pub(super) async fn not_found() -> PageError {
    PageError::new(StatusCode::NOT_FOUND, "There is no such page.")
}
