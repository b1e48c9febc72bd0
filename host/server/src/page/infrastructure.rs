//! `/ui/infrastructures/ID`: one infrastructure, with its graph, tables of nodes, instances and operations, and its
//! events.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use jiff::Timestamp;
use occopus::graph::tone::{self, Tone};
use occopus::graph::{self, TooLarge};
use occopus_api::{Operation, OperationState};
use occopus_engine::{Event, EventKind, InfrastructureId, InfrastructureState, InstanceStatus, NodeStatus};
use serde::Deserialize;

use super::display::{self, AbsoluteTime, RelativeTime};
use super::shell::{Shell, Viewer, html};
use super::{InfrastructureView, PageError, PageSource, parse_id};

/// Number of events on a page.
const EVENTS_PER_PAGE: usize = 50;

/// Maximum number of operations on a page.
const MAX_OPERATIONS: usize = 10;

/// Maximum number of instances in the table; failing ones come first.
const MAX_INSTANCES: usize = 500;

/// A selection of events: all, or those below an id.
#[derive(Debug, Deserialize)]
pub(super) struct EventLogQuery {
    before: Option<u64>,
}

#[derive(Template)]
#[template(path = "infrastructure.html")]
struct Page {
    shell: Shell,
    id: String,
    name: String,
    operates: bool,
    before: Option<u64>,
    /// Id of the newest event, from which the stream continues.
    last: u64,
    names: String,
    parts: String,
}

#[derive(Template)]
#[template(path = "infrastructure_parts.html")]
struct Parts<'a> {
    shown: &'a InfrastructureView,
    ready: usize,
    target: u64,
    graph: Result<String, TooLarge>,
    rows: Vec<(&'a NodeStatus, &'a InstanceStatus)>,
    more: usize,
    operations: Vec<Operation>,
    events: Vec<Event>,
    older: Option<u64>,
    is_past: bool,
    operates: bool,
    now: Timestamp,
}

/// Formatting for the table of operations, which two templates include.
trait OperationTable {
    fn now(&self) -> Timestamp;

    fn when(&self, time: &Timestamp) -> RelativeTime {
        RelativeTime::new(self.now(), *time)
    }

    fn segment(&self, text: &str) -> String {
        display::path_segment(text)
    }

    fn operation_state(&self, operation: &Operation) -> display::StateLabel {
        let tone = match operation.state {
            OperationState::Done => Tone::Good,
            OperationState::Failed => Tone::Bad,
            OperationState::Pending | OperationState::Running => Tone::Busy,
            OperationState::Superseded => Tone::Idle,
        };
        display::StateLabel::new(tone, operation.state.word())
    }
}

impl OperationTable for Parts<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }
}

/// The page of an infrastructure that is gone.
#[derive(Template)]
#[template(path = "gone.html")]
struct Gone {
    shell: Shell,
    id: String,
    name: String,
    has_failed: bool,
    operates: bool,
    operations: Vec<Operation>,
    events: Vec<Event>,
    now: Timestamp,
}

impl Gone {
    fn exactly(&self, time: &Timestamp) -> AbsoluteTime {
        AbsoluteTime(*time)
    }

    fn event_tone(&self, event: &Event) -> &'static str {
        tone_of_event(&event.kind)
    }
}

impl OperationTable for Gone {
    fn now(&self) -> Timestamp {
        self.now
    }
}

/// Data of the templates.
struct PageData {
    shown: InfrastructureView,
    graph: Result<String, TooLarge>,
    operations: Vec<Operation>,
    events: Vec<Event>,
}

async fn load_data<S: PageSource>(
    source: &S,
    viewer: &Viewer,
    id: &InfrastructureId,
    query: &EventLogQuery,
) -> Result<PageData, PageError> {
    // An infrastructure that the caller may not see is answered as unknown.
    let shown = if viewer.caller.can_see(id) { source.status(id).await? } else { None };
    let shown = shown.ok_or_else(|| PageError::unknown(id))?;
    let mut operations = source.operations(id).await?;
    operations.truncate(MAX_OPERATIONS);
    // One more, to find out whether there are older ones.
    let events = source.events(id, query.before, EVENTS_PER_PAGE + 1).await?;
    let graph = source.render_graph(&viewer.caller, id).await?;
    Ok(PageData { shown, graph, operations, events })
}

impl<'a> Parts<'a> {
    fn new(data: &'a PageData, viewer: &Viewer, query: &EventLogQuery) -> Self {
        let status = &data.shown.status;
        let mut rows: Vec<_> =
            status.nodes.iter().flat_map(|node| node.instances.iter().map(move |instance| (node, instance))).collect();
        rows.sort_by_key(|(_, instance)| match tone::of_instance(instance.state) {
            Tone::Bad => 0,
            Tone::Busy => 1,
            Tone::Good | Tone::Idle => 2,
        });
        let more = rows.len().saturating_sub(MAX_INSTANCES);
        rows.truncate(MAX_INSTANCES);
        let mut events = data.events.clone();
        let has_older = events.len() > EVENTS_PER_PAGE;
        events.truncate(EVENTS_PER_PAGE);
        Self {
            shown: &data.shown,
            ready: status.nodes.iter().map(tone::count_ready).sum(),
            target: status.nodes.iter().map(|node| u64::from(node.target)).sum(),
            graph: data.graph.clone(),
            rows,
            more,
            operations: data.operations.clone(),
            older: events.last().and_then(|event| event.id).filter(|_| has_older),
            events,
            is_past: query.before.is_some(),
            operates: viewer.can_operate(Some(&status.id)),
            now: Timestamp::now(),
        }
    }

    fn exactly(&self, time: &Timestamp) -> AbsoluteTime {
        AbsoluteTime(*time)
    }

    fn took(&self, seconds: &f64) -> String {
        display::duration_text(*seconds)
    }

    fn infrastructure_tone(&self) -> &'static str {
        tone::of_infrastructure(self.shown.status.state).class()
    }

    fn is_held(&self) -> bool {
        self.shown.status.state == InfrastructureState::Held
    }

    fn infrastructure_state(&self) -> display::StateLabel {
        let state = self.shown.status.state;
        display::StateLabel::new(tone::of_infrastructure(state), state)
    }

    fn node_state(&self, node: &NodeStatus) -> display::StateLabel {
        let (tone, word) = tone::of_node(node);
        display::StateLabel::new(tone, word)
    }

    /// Returns the number of failures of a node in a row, the time of the next attempt, and the cause; none if it is
    /// not failing.
    fn failing(&self, node: &NodeStatus) -> Option<String> {
        let failing = node.failing.as_ref()?;
        let next = failing.next_attempt;
        let next =
            if next > self.now { format!(", next attempt at {}", next.strftime("%T UTC")) } else { String::new() };
        Some(format!("failed {}{next}: {}", failing.times(), failing.message))
    }

    fn instance_state(&self, instance: &InstanceStatus) -> display::StateLabel {
        display::StateLabel::new(tone::of_instance(instance.state), instance.state)
    }

    fn event_tone(&self, event: &Event) -> &'static str {
        tone_of_event(&event.kind)
    }

    fn ready_of(&self, node: &NodeStatus) -> usize {
        tone::count_ready(node)
    }

    fn has_notes(&self, instance: &InstanceStatus) -> bool {
        let InstanceStatus { message, health, unobserved, changed, stale, .. } = instance;
        [message, health, unobserved].into_iter().any(Option::is_some) || !changed.is_empty() || !stale.is_empty()
    }

    fn anchor(&self, node: &NodeStatus) -> String {
        graph::anchor(&node.name)
    }

    fn anchor_of(&self, name: &str) -> String {
        graph::anchor(name)
    }

    /// Returns the end of an id. Ids begin with the time, so their ends differ most.
    fn short(&self, id: &str) -> String {
        id.rsplit('-').next().unwrap_or(id).chars().take(12).collect()
    }
}

/// Returns the CSS class of an event: `good`, `bad` or none.
fn tone_of_event(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::InfraReady | EventKind::NodeCreated { .. } | EventKind::NodeHealth { healthy: true, .. } => "good",
        EventKind::NodeFailed { .. }
        | EventKind::NodeHealth { healthy: false, .. }
        | EventKind::NodeLeft { .. }
        | EventKind::NodeUnknown { .. }
        | EventKind::NodeFallback { .. }
        | EventKind::NodeReplacing { .. }
        | EventKind::Hold { .. }
        | EventKind::RollingBack { .. } => "bad",
        _ => "",
    }
}

/// Renders the page. An infrastructure that is gone is answered with 410 while its operations are kept.
pub(super) async fn page<S: PageSource>(
    viewer: Viewer,
    State(source): State<S>,
    Path(id): Path<String>,
    Query(query): Query<EventLogQuery>,
) -> Result<Response, PageError> {
    let id = parse_id(&id)?;
    let data = match load_data(&source, &viewer, &id, &query).await {
        Ok(data) => data,
        Err(error) if error.status == StatusCode::NOT_FOUND => return gone(&source, &viewer, id, error).await,
        Err(error) => return Err(error),
    };
    let newest = match query.before {
        Some(_) => source.events(&id, None, 1).await?.first().and_then(|event| event.id),
        None => data.events.first().and_then(|event| event.id),
    };
    let status = &data.shown.status;
    Ok(html(&Page {
        shell: Shell::new(format!("{}: {}", status.name, status.state), "infrastructures", &viewer),
        name: status.name.clone(),
        operates: viewer.can_operate(Some(&id)),
        before: query.before,
        last: newest.unwrap_or_default(),
        names: EventKind::NAMES.join(" "),
        parts: Parts::new(&data, &viewer, &query).to_string(),
        id: id.into(),
    }))
}

/// Renders the page of an infrastructure that is gone; returns `error` if no operation of it is kept.
async fn gone<S: PageSource>(
    source: &S,
    viewer: &Viewer,
    id: InfrastructureId,
    error: PageError,
) -> Result<Response, PageError> {
    let mut operations = if viewer.caller.can_see(&id) { source.operations(&id).await? } else { Vec::new() };
    if operations.is_empty() {
        return Err(error);
    }
    operations.truncate(MAX_OPERATIONS);
    let failed = source.failures().await?.into_iter().find(|failed| *failed.id == *id);
    let (name, has_failed) = failed.as_ref().map_or((id.to_string(), false), |failed| (failed.name.clone(), true));
    let title = if has_failed { format!("{name}: failed") } else { "No longer exists".to_owned() };
    let page = html(&Gone {
        shell: Shell::new(title, "infrastructures", viewer),
        operates: viewer.can_operate(Some(&id)),
        events: failed.map(|failed| failed.events).unwrap_or_default(),
        id: id.into(),
        name,
        has_failed,
        operations,
        now: Timestamp::now(),
    });
    Ok((StatusCode::GONE, page).into_response())
}

/// Renders the parts of the page that the script refreshes.
pub(super) async fn parts<S: PageSource>(
    viewer: Viewer,
    State(source): State<S>,
    Path(id): Path<String>,
    Query(query): Query<EventLogQuery>,
) -> Result<Response, PageError> {
    let data = load_data(&source, &viewer, &parse_id(&id)?, &query).await?;
    Ok(html(&Parts::new(&data, &viewer, &query)))
}
