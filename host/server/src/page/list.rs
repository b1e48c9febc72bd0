//! `/`: all infrastructures.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{Redirect, Response};
use jiff::Timestamp;
use occopus::graph::tone;
use occopus_engine::InfrastructureState;
use serde::Deserialize;

use super::shell::{Shell, Visitor, html};
use super::words::{self, When, segment};
use super::{Failure, Listed, Source, Trouble};

/// More than these are not looked through by eye.
const MOST: usize = 300;

/// What to show.
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
    shown: Vec<Listed>,
    more: usize,
    failed: Vec<Failure>,
    creates: bool,
    filtered: bool,
    now: Timestamp,
}

impl Parts {
    async fn new<S: Source>(source: &S, visitor: &Visitor, filter: &Filter) -> Result<Self, Trouble> {
        let name = filter.name.trim().to_lowercase();
        let mut shown = source.list().await?;
        shown.retain(|one| {
            visitor.caller.sees(&one.summary.id)
                && one.summary.name.to_lowercase().contains(&name)
                && (filter.state.is_empty() || one.summary.state.to_string() == filter.state)
        });
        // The youngest first; ids decide among those that are equally old.
        shown.sort_by(|one, other| {
            other.summary.created.cmp(&one.summary.created).then_with(|| one.summary.id.cmp(&other.summary.id))
        });
        let more = shown.len().saturating_sub(MOST);
        shown.truncate(MOST);
        let mut failed = source.failures().await?;
        failed.retain(|one| {
            visitor.caller.sees(&one.id) && filter.state.is_empty() && one.name.to_lowercase().contains(&name)
        });
        let filtered = !name.is_empty() || !filter.state.is_empty();
        Ok(Self { shown, more, failed, creates: visitor.operates(None), filtered, now: Timestamp::now() })
    }

    fn when(&self, time: &Timestamp) -> When {
        When::new(self.now, *time)
    }

    fn state(&self, one: &Listed) -> words::State {
        words::State::new(tone::of_infrastructure(one.summary.state), one.summary.state)
    }
}

/// `/`
pub(super) async fn page<S: Source>(
    visitor: Visitor,
    State(source): State<S>,
    Query(filter): Query<Filter>,
) -> Result<Response, Trouble> {
    let parts = Parts::new(&source, &visitor, &filter).await?;
    let query = format!("name={}&state={}", segment(&filter.name), segment(&filter.state));
    let shell = Shell::new("Infrastructures", "infrastructures", &visitor);
    let states = InfrastructureState::all().collect();
    Ok(html(&Page { shell, creates: parts.creates, filter, states, query, parts }))
}

/// What changes on it.
pub(super) async fn parts<S: Source>(
    visitor: Visitor,
    State(source): State<S>,
    Query(filter): Query<Filter>,
) -> Result<Response, Trouble> {
    Ok(html(&Parts::new(&source, &visitor, &filter).await?))
}

/// `/ui`
pub(super) async fn home() -> Redirect {
    Redirect::to("/")
}
