//! `/ui/new` and `/ui/infrastructures/ID/change`: a description to be checked, planned and built.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use uuid::Uuid;

use super::shell::{Shell, Visitor, html};
use super::{Source, Trouble};

#[derive(Template)]
#[template(path = "describe.html")]
struct Page {
    shell: Shell,
    is_new: bool,
    id: String,
    etag: String,
    label: &'static str,
    text: String,
    operates: bool,
}

const LABEL: &str = "Description";

/// `/ui/new`
pub(super) async fn new(visitor: Visitor) -> Response {
    html(&Page {
        shell: Shell::new("New infrastructure", "infrastructures", &visitor),
        is_new: true,
        // Plans are made for an id, and building twice by mistake is found by it.
        id: Uuid::new_v4().to_string(),
        etag: String::new(),
        label: LABEL,
        text: include_str!("../../assets/first.yaml").to_owned(),
        operates: visitor.operates(None),
    })
}

/// `/ui/infrastructures/ID/change`
pub(super) async fn change<S: Source>(
    visitor: Visitor,
    State(source): State<S>,
    Path(id): Path<String>,
) -> Result<Response, Trouble> {
    let found = if visitor.caller.sees(&id) { source.description(&id).await? } else { None };
    let description = found.ok_or_else(|| Trouble::unknown(&id))?;
    let text = serde_yaml_ng::to_string(&description.document).map_err(|error| {
        tracing::error!(%error, id, "a description could not be written");
        Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "The description could not be written.")
    })?;
    let name = description.document.get("infra_name").and_then(|name| name.as_str()).unwrap_or(&id);
    Ok(html(&Page {
        shell: Shell::new(format!("Change {name}"), "infrastructures", &visitor),
        is_new: false,
        etag: description.etag,
        label: LABEL,
        text,
        operates: visitor.operates(Some(&id)),
        id,
    }))
}
