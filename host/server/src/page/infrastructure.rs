//! `/ui/infrastructures/ID`: one infrastructure, as a drawing, as tables and as what happened.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use jiff::Timestamp;
use occopus::graph::tone::{self, Tone};
use occopus::graph::{self, TooLarge};
use occopus_engine::{EventKind, InfrastructureState, InstanceStatus, NodeStatus, StoredEvent};
use serde::Deserialize;

use super::display::{self, AbsoluteTime, RelativeTime};
use super::shell::{Shell, Viewer, html};
use super::{InfrastructureView, OperationView, PageError, PageSource};

/// Events on a page.
const EVENTS_PER_PAGE: usize = 50;

/// Operations on a page.
const MAX_OPERATIONS: usize = 10;

/// Instances in the table; those in trouble come first.
const MAX_INSTANCES: usize = 500;

/// Where in the past the log begins.
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
    /// The newest event on the page: the stream goes on from there.
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
    operations: Vec<OperationView>,
    events: Vec<StoredEvent>,
    older: Option<u64>,
    is_past: bool,
    operates: bool,
    now: Timestamp,
}

/// What tables of operations need.
trait OperationTable {
    fn now(&self) -> Timestamp;

    fn when(&self, time: &Timestamp) -> RelativeTime {
        RelativeTime::new(self.now(), *time)
    }

    fn segment(&self, text: &str) -> String {
        display::path_segment(text)
    }

    fn operation_state(&self, operation: &OperationView) -> display::StateLabel {
        let tone = match &*operation.state {
            "done" => Tone::Good,
            "failed" => Tone::Bad,
            "pending" | "running" => Tone::Busy,
            _ => Tone::Idle,
        };
        display::StateLabel::new(tone, &operation.state)
    }
}

impl OperationTable for Parts<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }
}

/// Of what there was.
#[derive(Template)]
#[template(path = "gone.html")]
struct Gone {
    shell: Shell,
    id: String,
    name: String,
    has_failed: bool,
    operates: bool,
    operations: Vec<OperationView>,
    events: Vec<StoredEvent>,
    now: Timestamp,
}

impl Gone {
    fn exactly(&self, time: &Timestamp) -> AbsoluteTime {
        AbsoluteTime(*time)
    }

    fn event_tone(&self, event: &StoredEvent) -> &'static str {
        tone_of_event(&event.kind)
    }
}

impl OperationTable for Gone {
    fn now(&self) -> Timestamp {
        self.now
    }
}

/// What the templates are made of.
struct PageData {
    shown: InfrastructureView,
    graph: Result<String, TooLarge>,
    operations: Vec<OperationView>,
    events: Vec<StoredEvent>,
}

async fn load_data<S: PageSource>(
    source: &S,
    visitor: &Viewer,
    id: &str,
    past: &EventLogQuery,
) -> Result<PageData, PageError> {
    // Whoever may not see it learns nothing of it.
    let shown = if visitor.caller.can_see(id) { source.status(id).await? } else { None };
    let shown = shown.ok_or_else(|| PageError::unknown(id))?;
    let mut operations = source.operations(id).await?;
    operations.truncate(MAX_OPERATIONS);
    // One more tells whether there are older ones.
    let events = source.events(id, past.before, EVENTS_PER_PAGE + 1).await?;
    let graph = source.render_graph(&visitor.caller, id).await?;
    Ok(PageData { shown, graph, operations, events })
}

impl<'a> Parts<'a> {
    fn new(known: &'a PageData, visitor: &Viewer, past: &EventLogQuery) -> Self {
        let status = &known.shown.status;
        let mut rows: Vec<_> =
            status.nodes.iter().flat_map(|node| node.instances.iter().map(move |instance| (node, instance))).collect();
        rows.sort_by_key(|(_, instance)| match tone::of_instance(instance.state) {
            Tone::Bad => 0,
            Tone::Busy => 1,
            Tone::Good | Tone::Idle => 2,
        });
        let more = rows.len().saturating_sub(MAX_INSTANCES);
        rows.truncate(MAX_INSTANCES);
        let mut events = known.events.clone();
        let has_older = events.len() > EVENTS_PER_PAGE;
        events.truncate(EVENTS_PER_PAGE);
        Self {
            shown: &known.shown,
            ready: status.nodes.iter().map(tone::count_ready).sum(),
            target: status.nodes.iter().map(|node| u64::from(node.target)).sum(),
            graph: known.graph.clone(),
            rows,
            more,
            operations: known.operations.clone(),
            older: events.last().and_then(|event| event.id).filter(|_| has_older),
            events,
            is_past: past.before.is_some(),
            operates: visitor.can_operate(Some(&status.id)),
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

    /// Tells how often a node has failed in a row, and when it is tried again.
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

    fn event_tone(&self, event: &StoredEvent) -> &'static str {
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

    /// Enough of an id to tell it from its neighbours. Ids begin with the time, so their ends differ most.
    fn short(&self, id: &str) -> String {
        id.rsplit('-').next().unwrap_or(id).chars().take(12).collect()
    }
}

/// Which events are good, and which are not.
fn tone_of_event(what: &EventKind) -> &'static str {
    match what {
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

/// The page.
pub(super) async fn page<S: PageSource>(
    visitor: Viewer,
    State(source): State<S>,
    Path(id): Path<String>,
    Query(past): Query<EventLogQuery>,
) -> Result<Response, PageError> {
    let known = match load_data(&source, &visitor, &id, &past).await {
        Ok(known) => known,
        Err(trouble) if trouble.status == StatusCode::NOT_FOUND => return gone(&source, &visitor, id, trouble).await,
        Err(trouble) => return Err(trouble),
    };
    let newest = match past.before {
        Some(_) => source.events(&id, None, 1).await?.first().and_then(|event| event.id),
        None => known.events.first().and_then(|event| event.id),
    };
    let status = &known.shown.status;
    Ok(html(&Page {
        shell: Shell::new(format!("{}: {}", status.name, status.state), "infrastructures", &visitor),
        name: status.name.clone(),
        operates: visitor.can_operate(Some(&id)),
        before: past.before,
        last: newest.unwrap_or_default(),
        names: EventKind::NAMES.join(" "),
        parts: Parts::new(&known, &visitor, &past).to_string(),
        id,
    }))
}

/// What was asked for and what became of it can be looked up for a while after it is gone.
async fn gone<S: PageSource>(
    source: &S,
    visitor: &Viewer,
    id: String,
    trouble: PageError,
) -> Result<Response, PageError> {
    let mut operations = if visitor.caller.can_see(&id) { source.operations(&id).await? } else { Vec::new() };
    if operations.is_empty() {
        return Err(trouble);
    }
    operations.truncate(MAX_OPERATIONS);
    let failed = source.failures().await?.into_iter().find(|failed| failed.id == id);
    let (name, has_failed) = failed.as_ref().map_or((id.clone(), false), |failed| (failed.name.clone(), true));
    let title = if has_failed { format!("{name}: failed") } else { "Nothing is left".to_owned() };
    let page = html(&Gone {
        shell: Shell::new(title, "infrastructures", visitor),
        operates: visitor.can_operate(Some(&id)),
        events: failed.map(|failed| failed.events).unwrap_or_default(),
        id,
        name,
        has_failed,
        operations,
        now: Timestamp::now(),
    });
    Ok((StatusCode::GONE, page).into_response())
}

/// What changes on it.
pub(super) async fn parts<S: PageSource>(
    visitor: Viewer,
    State(source): State<S>,
    Path(id): Path<String>,
    Query(past): Query<EventLogQuery>,
) -> Result<Response, PageError> {
    let known = load_data(&source, &visitor, &id, &past).await?;
    Ok(html(&Parts::new(&known, &visitor, &past)))
}
