//! `/`: the list of infrastructures.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{Redirect, Response};
use jiff::Timestamp;
use occopus::graph::tone;
use occopus_engine::InfrastructureState;
use serde::Deserialize;

use super::display::{self, RelativeTime, path_segment};
use super::shell::{Shell, Viewer, html};
use super::{FailedBuildView, InfrastructureRow, PageError, PageSource};

/// Maximum number of rows; the filter finds the others.
const MAX_ROWS: usize = 300;

/// A filter of the list, by a part of the name and by state.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    name: String,
    state: String,
}

#[derive(Template)]
#[template(path = "list.html")]
struct Page {
    shell: Shell,
    creates: bool,
    filter: Filter,
    states: Vec<InfrastructureState>,
    query: String,
    parts: Parts,
}

#[derive(Template)]
#[template(path = "list_parts.html")]
struct Parts {
    shown: Vec<InfrastructureRow>,
    more: usize,
    failed: Vec<FailedBuildView>,
    creates: bool,
    filtered: bool,
    now: Timestamp,
}

impl Parts {
    async fn new<S: PageSource>(source: &S, viewer: &Viewer, filter: &Filter) -> Result<Self, PageError> {
        let name = filter.name.trim().to_lowercase();
        let mut shown = source.list().await?;
        shown.retain(|one| {
            viewer.caller.can_see(&one.item.id)
                && one.item.name.to_lowercase().contains(&name)
                && (filter.state.is_empty() || one.item.state.to_string() == filter.state)
        });
        // The youngest first; of the same age, in the order of their ids.
        shown.sort_by(|one, other| {
            other.item.created.cmp(&one.item.created).then_with(|| one.item.id.cmp(&other.item.id))
        });
        let more = shown.len().saturating_sub(MAX_ROWS);
        shown.truncate(MAX_ROWS);
        let mut failed = source.failures().await?;
        failed.retain(|one| {
            viewer.caller.can_see(&one.id) && filter.state.is_empty() && one.name.to_lowercase().contains(&name)
        });
        let filtered = !name.is_empty() || !filter.state.is_empty();
        Ok(Self { shown, more, failed, creates: viewer.can_operate(None), filtered, now: Timestamp::now() })
    }

    fn when(&self, time: &Timestamp) -> RelativeTime {
        RelativeTime::new(self.now, *time)
    }

    fn state(&self, one: &InfrastructureRow) -> display::StateLabel {
        display::StateLabel::new(tone::of_infrastructure(one.item.state), one.item.state)
    }
}

/// Renders `/`.
pub(super) async fn page<S: PageSource>(
    viewer: Viewer,
    State(source): State<S>,
    Query(filter): Query<Filter>,
) -> Result<Response, PageError> {
    let parts = Parts::new(&source, &viewer, &filter).await?;
    let query = format!("name={}&state={}", path_segment(&filter.name), path_segment(&filter.state));
    let shell = Shell::new("Infrastructures", "infrastructures", &viewer);
    let states = InfrastructureState::all().collect();
    Ok(html(&Page { shell, creates: parts.creates, filter, states, query, parts }))
}

/// Renders the parts of the page that the script refreshes.
pub(super) async fn parts<S: PageSource>(
    viewer: Viewer,
    State(source): State<S>,
    Query(filter): Query<Filter>,
) -> Result<Response, PageError> {
    Ok(html(&Parts::new(&source, &viewer, &filter).await?))
}

/// Redirects `/ui` to `/`.
pub(super) async fn home() -> Redirect {
    Redirect::to("/")
}
