//! The frame of every page: title, navigation and viewer.

use askama::Template;
use axum::extract::FromRequestParts;
use axum::response::{Html, IntoResponse, Response};
use http::request::Parts;
use http::{StatusCode, header};

use super::assets;
use crate::access::{AccessError, Caller, Scope};

/// The caller of a page.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    pub(super) caller: Caller,
    /// Presence of a session cookie; without it, the caller is anonymous on this machine.
    pub(super) signed_in: bool,
}

impl Viewer {
    /// Returns whether the viewer may change this infrastructure, or, without an id, create others.
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

/// The frame of a page.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) title: String,
    section: &'static str,
    pub(super) viewer: Option<ViewerInfo>,
}

/// The viewer, as the frame shows them.
#[derive(Debug)]
pub(super) struct ViewerInfo {
    pub(super) name: String,
    pub(super) scope: Scope,
    pub(super) signed_in: bool,
    pub(super) operates: bool,
}

impl Shell {
    pub(super) fn new(title: impl Into<String>, section: &'static str, viewer: &Viewer) -> Self {
        let info = ViewerInfo {
            name: viewer.caller.name.clone(),
            scope: viewer.caller.scope,
            signed_in: viewer.signed_in,
            operates: viewer.can_operate(None),
        };
        Self { title: title.into(), section, viewer: Some(info) }
    }

    /// Returns a frame without navigation and viewer.
    pub(super) fn anonymous(title: impl Into<String>) -> Self {
        Self { title: title.into(), section: "", viewer: None }
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

/// Trusted HTML, which is not escaped.
pub(super) struct Attribute(&'static str);

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl askama::filters::HtmlSafe for Attribute {}

/// Renders a page, or a part of one, as a response.
pub(super) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "The page could not be rendered.").into_response()
        }
    }
}
