//! The tree of nodes: names, states, addresses and times, with notes below the rows.

use jiff::Timestamp;
use occopus::graph::tone::format_ready;
use occopus_engine::{InfrastructureState, InstanceState, InstanceStatus, NodeStatus, Status};

use super::durations::{format_duration, time_since};
use super::plain::one_line;

/// A summary of a state, shown as a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Ready.
    Good,
    /// Being changed.
    Busy,
    /// Failing.
    Bad,
    /// Inactive.
    Idle,
}

impl Tone {
    fn paint(self, text: &str, colours: bool) -> String {
        let code = match self {
            Self::Good => 32,
            Self::Busy => 33,
            Self::Bad => 31,
            Self::Idle => 2,
        };
        if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A row of the tree, with a note below it.
#[derive(Debug, Clone)]
pub(crate) struct TreeRow {
    /// Rows of the instances, drawn below the node.
    pub(crate) children: Vec<TreeRow>,
    /// Name of the node, or number of the instance (`#1`).
    pub(crate) name: String,
    /// State in a word or two.
    pub(crate) state: String,
    /// Tone of the state.
    pub(crate) tone: Tone,
    /// Address; empty if there is none yet.
    pub(crate) address: String,
    /// Duration of the state; empty if there is none to show.
    pub(crate) time: String,
    /// Cause of the state.
    pub(crate) note: Option<String>,
}

/// A row with its indentation.
struct LaidOutRow<'a> {
    row: &'a TreeRow,
    name: String,
    address: String,
    before: String,
    below: String,
}

/// Renders the rows of a tree as lines in columns.
pub(crate) fn render_rows(rows: &[TreeRow], colours: bool) -> Vec<String> {
    let mut laid_out = Vec::new();
    lay_out(rows, "", &mut laid_out);
    let widest = |cell: fn(&LaidOutRow<'_>) -> usize| laid_out.iter().map(cell).max().unwrap_or_default();
    let name = widest(|row| row.before.chars().count() + row.name.chars().count());
    let state = widest(|row| row.row.state.chars().count());
    let address = widest(|row| row.address.chars().count());
    let mut lines = Vec::with_capacity(laid_out.len());
    for LaidOutRow { row, name: own, address: at, before, below } in &laid_out {
        let label = format!("{before}{own}");
        let painted = row.tone.paint(&format!("{:state$}", row.state), colours);
        let line = format!("{label:name$}  {painted}  {at:address$}  {}", row.time);
        lines.push(line.trim_end().to_owned());
        if let Some(note) = &row.note {
            let note = one_line(note);
            lines.push(format!("{below}  {}", row.tone.paint(&note, colours)));
        }
    }
    lines
}

fn lay_out<'a>(rows: &'a [TreeRow], indent: &str, laid_out: &mut Vec<LaidOutRow<'a>>) {
    for (at, row) in rows.iter().enumerate() {
        let last = at + 1 == rows.len();
        let below = format!("{indent}{}", if last { "   " } else { "│  " });
        let before = format!("{indent}{}", if last { "└─ " } else { "├─ " });
        let under = if row.children.is_empty() { below.clone() } else { format!("{below}│") };
        let (name, address) = (one_line(&row.name), one_line(&row.address));
        laid_out.push(LaidOutRow { row, name, address, before, below: under });
        lay_out(&row.children, &below, laid_out);
    }
}

/// Returns the lines that show the status of an infrastructure.
pub(crate) fn status_lines(status: &Status, now: Timestamp, colours: bool) -> Vec<String> {
    let tone = match status.state {
        InfrastructureState::Ready => Tone::Good,
        InfrastructureState::Building | InfrastructureState::Destroying => Tone::Busy,
        InfrastructureState::Degraded
        | InfrastructureState::Failing
        | InfrastructureState::Unreachable
        | InfrastructureState::Held => Tone::Bad,
    };
    let state = tone.paint(&status.state.to_string(), colours);
    let age = format_duration(time_since(now, status.created));
    let mut all = vec![format!("{} ({}): {state}, created {age} ago", one_line(&status.name), status.id)];
    if let Some(message) = &status.message {
        all.push(one_line(message));
    }
    if status.suspended {
        all.push("suspended: not maintained until it is resumed".to_owned());
    }
    if let Some(owner) = &status.owner {
        all.push(format!("owned by {} for {}", owner.holder, format_duration(time_since(now, owner.since))));
    }
    let rows: Vec<_> = status.nodes.iter().map(|node| node_row(node, now)).collect();
    all.extend(render_rows(&rows, colours));
    all
}

fn node_row(node: &NodeStatus, now: Timestamp) -> TreeRow {
    let ready = node.instances.iter().filter(|instance| instance.state == InstanceState::Ready).count();
    match &node.instances[..] {
        [only] if node.target <= 1 => {
            let row = instance_row(only, now);
            let notes: Vec<_> = row.note.into_iter().chain(failing_note(node, now)).collect();
            let note = (!notes.is_empty()).then(|| notes.join("; "));
            TreeRow { name: node.name.clone(), note, ..row }
        }
        instances => {
            let target = node.target as usize;
            let row = |(at, instance)| TreeRow { name: format!("#{}", at + 1), ..instance_row(instance, now) };
            TreeRow {
                name: node.name.clone(),
                state: format_ready(ready, target),
                tone: if ready == target && instances.len() == target { Tone::Good } else { Tone::Bad },
                address: String::new(),
                time: String::new(),
                note: failing_note(node, now),
                children: instances.iter().enumerate().map(row).collect(),
            }
        }
    }
}

/// Returns how often a node has failed in a row, and when it is tried again; none if it does not fail.
fn failing_note(node: &NodeStatus, now: Timestamp) -> Option<String> {
    let failing = node.failing.as_ref()?;
    let next = time_since(failing.next_attempt, now);
    let next = if next.is_zero() { String::new() } else { format!(", next attempt in {}", format_duration(next)) };
    Some(format!("failed {}{next}: {}", failing.times(), failing.message))
}

fn instance_row(instance: &InstanceStatus, now: Timestamp) -> TreeRow {
    let mut time = format!("for {}", format_duration(time_since(now, instance.since)));
    if let Some(seconds) = instance.seconds_to_ready {
        time += &format!(", ready after {seconds:.1} s");
    }
    let mut notes: Vec<_> = [&instance.message, &instance.health].into_iter().flatten().cloned().collect();
    // An instance that does not run has the same cause in both.
    notes.dedup();
    if let Some(since) = instance.failing_since {
        notes.push(format!("failing for {}", format_duration(time_since(now, since))));
    }
    if let Some(unobserved) = &instance.unobserved {
        notes.push(format!("could not be observed: {unobserved}"));
    }
    if !instance.changed.is_empty() {
        notes.push(format!("changed since it was created: {}", instance.changed.join(", ")));
    }
    if !instance.stale.is_empty() {
        notes.push(format!("refers to {}, which is gone", instance.stale.join(", ")));
    }
    TreeRow {
        name: instance.id.clone(),
        state: instance.state.to_string(),
        tone: instance_tone(instance.state),
        address: instance.addresses.first().map(|address| address.value.clone()).unwrap_or_default(),
        time,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
        children: Vec::new(),
    }
}

fn instance_tone(state: InstanceState) -> Tone {
    match state {
        InstanceState::Ready => Tone::Good,
        InstanceState::Creating | InstanceState::Pending | InstanceState::Running | InstanceState::Destroying => {
            Tone::Busy
        }
        InstanceState::UnknownOutcome
        | InstanceState::Unhealthy
        | InstanceState::Stopped
        | InstanceState::Vanished
        | InstanceState::Failed => Tone::Bad,
    }
}

/// Returns a line with the addresses of each instance of the nodes whose name contains the filter.
pub(crate) fn address_lines(status: &Status, filter: &str) -> Vec<String> {
    let nodes = status.nodes.iter().filter(|node| node.name.contains(filter));
    let line = |instance: &InstanceStatus| {
        let addresses: Vec<_> = instance.addresses.iter().map(|address| address.value.as_str()).collect();
        addresses.join(" ")
    };
    nodes.flat_map(|node| &node.instances).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, state: &str, children: Vec<TreeRow>) -> TreeRow {
        let note = (state == "failed").then(|| "port 80:\nrefused".to_owned());
        let (name, state) = (name.to_owned(), state.to_owned());
        TreeRow { name, state, tone: Tone::Good, address: "127.0.0.1".into(), time: "1 s".into(), note, children }
    }

    #[test]
    fn rows_are_drawn_in_columns_with_notes_below() {
        let rows = [
            row("db", "ready", Vec::new()),
            row("web", "1 of 2 ready", vec![row("#1", "ready", Vec::new()), row("#2", "failed", Vec::new())]),
        ];
        insta::assert_snapshot!(render_rows(&rows, false).join("\n"), @r"
        ├─ db     ready         127.0.0.1  1 s
        └─ web    1 of 2 ready  127.0.0.1  1 s
           ├─ #1  ready         127.0.0.1  1 s
           └─ #2  failed        127.0.0.1  1 s
                port 80:; refused
        ");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = [row("db", "ready", Vec::new())];
        assert_eq!(render_rows(&rows, true)[0], "└─ db  \x1b[32mready\x1b[0m  127.0.0.1  1 s");
    }
}
