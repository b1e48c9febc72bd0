//! `/ui/new` and `/ui/infrastructures/ID/change`: an editor to check, plan and build a description.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use occopus_engine::InfrastructureId;
use serde::Deserialize;

use super::shell::{Shell, Viewer, html};
use super::{PageError, PageSource, Starter, parse_id};

#[derive(Template)]
#[template(path = "describe.html")]
struct Page {
    shell: Shell,
    /// Mode of the editor: build a new infrastructure instead of changing one.
    is_new: bool,
    /// Mode of the editor: the description is that of a failed build, whose machines are gone.
    has_failed: bool,
    id: String,
    etag: String,
    label: &'static str,
    text: String,
    help: &'static str,
    operates: bool,
}

const LABEL: &str = "Description";

/// A selection of the description to change.
#[derive(Debug, Deserialize)]
pub(super) struct DescriptionQuery {
    /// Present: the description of the last build, if that has failed.
    tried: Option<String>,
}

/// Renders `/ui/new`.
pub(super) async fn new<S: PageSource>(viewer: Viewer, State(source): State<S>) -> Response {
    let Starter { text, help } = source.starter();
    html(&Page {
        shell: Shell::new("New infrastructure", "infrastructures", &viewer),
        is_new: true,
        has_failed: false,
        // Chosen here, since plans need an id, and since a second build of the same form is then rejected.
        id: InfrastructureId::generate().into(),
        etag: String::new(),
        label: LABEL,
        text,
        help,
        operates: viewer.can_operate(None),
    })
}

/// Renders `/ui/infrastructures/ID/change`.
pub(super) async fn change<S: PageSource>(
    viewer: Viewer,
    State(source): State<S>,
    Path(id): Path<String>,
    Query(query): Query<DescriptionQuery>,
) -> Result<Response, PageError> {
    let id = parse_id(&id)?;
    let found = if viewer.caller.can_see(&id) { source.description(&id, query.tried.is_some()).await? } else { None };
    let description = found.ok_or_else(|| PageError::unknown(&id))?;
    let is_new = description.etag.is_none();
    Ok(html(&Page {
        shell: Shell::new(format!("Change {}", description.name), "infrastructures", &viewer),
        is_new,
        has_failed: is_new,
        etag: description.etag.unwrap_or_default(),
        label: LABEL,
        text: description.text,
        help: "",
        operates: viewer.can_operate(Some(&id)),
        id: id.into(),
    }))
}
