//! `/ui/new` and `/ui/infrastructures/ID/change`: a description to be checked, planned and built.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use uuid::Uuid;

use super::shell::{Shell, Viewer, html};
use super::{PageError, PageSource, Starter};

#[derive(Template)]
#[template(path = "describe.html")]
struct Page {
    shell: Shell,
    /// There is no such infrastructure yet.
    is_new: bool,
    /// It was built before, and nothing of it is left.
    has_failed: bool,
    id: String,
    etag: String,
    label: &'static str,
    text: String,
    help: &'static str,
    operates: bool,
}

const LABEL: &str = "Description";

/// Which description is to be changed.
#[derive(Debug, Deserialize)]
pub(super) struct DescriptionQuery {
    /// What was tried last, if it has failed.
    tried: Option<String>,
}

/// `/ui/new`
pub(super) async fn new<S: PageSource>(visitor: Viewer, State(source): State<S>) -> Response {
    let Starter { text, help } = source.starter();
    html(&Page {
        shell: Shell::new("New infrastructure", "infrastructures", &visitor),
        is_new: true,
        has_failed: false,
        // Plans are made for an id, and building twice by mistake is found by it.
        id: Uuid::new_v4().to_string(),
        etag: String::new(),
        label: LABEL,
        text,
        help,
        operates: visitor.can_operate(None),
    })
}

/// `/ui/infrastructures/ID/change`
pub(super) async fn change<S: PageSource>(
    visitor: Viewer,
    State(source): State<S>,
    Path(id): Path<String>,
    Query(which): Query<DescriptionQuery>,
) -> Result<Response, PageError> {
    let found = if visitor.caller.can_see(&id) { source.description(&id, which.tried.is_some()).await? } else { None };
    let description = found.ok_or_else(|| PageError::unknown(&id))?;
    let is_new = description.etag.is_none();
    Ok(html(&Page {
        shell: Shell::new(format!("Change {}", description.name), "infrastructures", &visitor),
        is_new,
        has_failed: is_new,
        etag: description.etag.unwrap_or_default(),
        label: LABEL,
        text: description.text,
        help: "",
        operates: visitor.can_operate(Some(&id)),
        id,
    }))
}
