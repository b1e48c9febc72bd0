//! What is around every page.

use askama::Template;
use axum::extract::FromRequestParts;
use axum::response::{Html, IntoResponse, Response};
use http::request::Parts;
use http::{StatusCode, header};

use super::assets;
use crate::access::{AccessError, Caller, Scope};

/// Whoever looks at a page.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    pub(super) caller: Caller,
    /// By a cookie, and not as anyone on this machine.
    pub(super) signed_in: bool,
}

impl Viewer {
    /// Whether they may change this infrastructure, or, without one, make others.
    pub(super) fn can_operate(&self, id: Option<&str>) -> bool {
        self.caller.authorize(Scope::Operate, id).is_ok()
    }
}

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = AccessError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let cookies = parts.headers.get_all(header::COOKIE);
        let signed_in = cookies.iter().any(|value| value.to_str().is_ok_and(|text| text.contains("occopus_session=")));
        Ok(Self { caller, signed_in })
    }
}

/// What is around a page.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) title: String,
    section: &'static str,
    pub(super) visitor: Option<ViewerInfo>,
}

/// What a page tells of whoever looks at it.
#[derive(Debug)]
pub(super) struct ViewerInfo {
    pub(super) name: String,
    pub(super) scope: Scope,
    pub(super) signed_in: bool,
    pub(super) operates: bool,
}

impl Shell {
    pub(super) fn new(title: impl Into<String>, section: &'static str, visitor: &Viewer) -> Self {
        let shown = ViewerInfo {
            name: visitor.caller.name.clone(),
            scope: visitor.caller.scope,
            signed_in: visitor.signed_in,
            operates: visitor.can_operate(None),
        };
        Self { title: title.into(), section, visitor: Some(shown) }
    }

    /// Without what only those see who are signed in.
    pub(super) fn anonymous(title: impl Into<String>) -> Self {
        Self { title: title.into(), section: "", visitor: None }
    }

    pub(super) fn current(&self, section: &str) -> Attribute {
        Attribute(if self.section == section { " aria-current=\"page\"" } else { "" })
    }

    pub(super) fn style(&self) -> &'static str {
        assets::path(assets::Asset::Style)
    }

    pub(super) fn script(&self) -> &'static str {
        assets::path(assets::Asset::Script)
    }

    pub(super) fn icon(&self) -> &'static str {
        assets::path(assets::Asset::Icon)
    }
}

/// HTML of our own, that needs no escaping.
pub(super) struct Attribute(&'static str);

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl askama::filters::HtmlSafe for Attribute {}

/// A page, or a part of one, as an answer.
pub(super) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be drawn");
            (StatusCode::INTERNAL_SERVER_ERROR, "The page could not be drawn.").into_response()
        }
    }
}
