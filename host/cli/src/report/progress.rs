//! Progress of a run as a tree of nodes, built from events.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use occopus::graph::tone::format_ready;
use occopus_engine::ports::Address;
use occopus_engine::{ActionKind, Event, EventKind, InstanceState, Plan, Status};
use occopus_model::Infrastructure;

use super::durations::format_duration;
use super::plain::one_line;
use super::tree::{Tone, TreeRow, render_rows};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// A tree of the nodes as events describe them.
#[derive(Debug)]
pub(crate) struct ProgressTree {
    title: String,
    began: Instant,
    colours: bool,
    nodes: IndexMap<String, NodeProgress>,
    /// Keeps the rows of removed instances, as `destroy` shows them.
    keeps_removed: bool,
}

#[derive(Debug, Default)]
struct NodeProgress {
    depends_on: Vec<String>,
    target: usize,
    /// Reason why the node is not tried at the moment.
    note: Option<String>,
    instances: IndexMap<String, InstanceProgress>,
}

#[derive(Debug)]
struct InstanceProgress {
    state: &'static str,
    tone: Tone,
    address: String,
    began: Instant,
    took: Option<Duration>,
    note: Option<String>,
}

impl InstanceProgress {
    fn new(state: &'static str, tone: Tone) -> Self {
        Self { state, tone, address: String::new(), began: Instant::now(), took: None, note: None }
    }

    fn set_state(&mut self, state: &'static str, tone: Tone, note: Option<String>) {
        (self.state, self.tone, self.note) = (state, tone, note);
    }

    /// Sets the last state of the instance, and stops its clock.
    fn finish(&mut self, state: &'static str, tone: Tone, note: Option<String>) {
        self.set_state(state, tone, note);
        self.took.get_or_insert_with(|| self.began.elapsed());
    }

    fn set_address(&mut self, addresses: &[Address]) {
        if let Some(first) = addresses.first() {
            self.address.clone_from(&first.value);
        }
    }
}

impl ProgressTree {
    /// Creates the tree of a description of which nothing exists yet.
    pub(crate) fn of_description(infrastructure: &Infrastructure, colours: bool) -> Self {
        let nodes = infrastructure.nodes.iter().map(|node| {
            let target = node.scaling.min as usize;
            let progress = NodeProgress { depends_on: node.depends_on.clone(), target, ..NodeProgress::default() };
            (node.name.clone(), progress)
        });
        Self::new(format!("building {}", infrastructure.name), colours, nodes.collect())
    }

    /// Creates the tree of an existing infrastructure that is about to change. `verb` begins the title.
    pub(crate) fn of_status(verb: &str, status: &Status, colours: bool) -> Self {
        let nodes = status.nodes.iter().map(|node| {
            let instances = node.instances.iter().map(|instance| {
                let (word, tone) = state_word(instance.state);
                let mut progress = InstanceProgress::new(word, tone);
                progress.set_address(&instance.addresses);
                (instance.id.clone(), progress)
            });
            let depends_on = node.depends_on.clone();
            let (target, instances) = (node.target as usize, instances.collect());
            (node.name.clone(), NodeProgress { depends_on, target, note: None, instances })
        });
        let tree = Self::new(format!("{verb} {}", status.name), colours, nodes.collect());
        Self { keeps_removed: false, ..tree }
    }

    fn new(title: String, colours: bool, nodes: IndexMap<String, NodeProgress>) -> Self {
        Self { title, began: Instant::now(), colours, nodes, keeps_removed: true }
    }

    /// Keeps the rows of removed instances.
    pub(crate) fn keeping_removed(self) -> Self {
        Self { keeps_removed: true, ..self }
    }

    fn instance(&mut self, node: &str, id: &str) -> &mut InstanceProgress {
        let node = self.nodes.entry(node.to_owned()).or_default();
        node.instances.entry(id.to_owned()).or_insert_with(|| InstanceProgress::new("known", Tone::Busy))
    }

    /// Applies an event.
    pub(crate) fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Planned { plan } => self.apply_plan(plan),
            EventKind::NodeCreating { node_id, node_name, driver } => {
                let instance = self.instance(node_name, node_id);
                *instance = InstanceProgress::new("creating", Tone::Busy);
                instance.note = Some(format!("on {driver}"));
            }
            EventKind::NodePlaced { node_id, node_name, adopted } => {
                let note = adopted.then(|| "found again".to_owned());
                self.instance(node_name, node_id).set_state("starting", Tone::Busy, note);
            }
            EventKind::NodeRunning { node_id, node_name, addresses } => {
                let instance = self.instance(node_name, node_id);
                instance.set_state("running", Tone::Busy, None);
                instance.set_address(addresses);
            }
            EventKind::NodeCreated { node_id, node_name, addresses } => {
                let instance = self.instance(node_name, node_id);
                instance.finish("ready", Tone::Good, None);
                instance.set_address(addresses);
                self.nodes.entry(node_name.clone()).or_default().note = None;
            }
            EventKind::NodeUnknown { node_id, node_name, message } => {
                self.instance(node_name, node_id).set_state("unknown", Tone::Bad, Some(message.clone()));
            }
            EventKind::NodeFallback { node_id, node_name, driver, message } => {
                let note = format!("no capacity on {driver}: {message}");
                self.instance(node_name, node_id).set_state("creating", Tone::Busy, Some(note));
            }
            EventKind::NodeFailed { node_id, node_name, message, .. } => {
                self.instance(node_name, node_id).finish("failed", Tone::Bad, Some(message.clone()));
            }
            EventKind::NodeHealth { node_id, node_name, healthy: true, .. } => {
                self.instance(node_name, node_id).set_state("ready", Tone::Good, None);
            }
            EventKind::NodeHealth { node_id, node_name, message, .. } => {
                self.instance(node_name, node_id).set_state("unhealthy", Tone::Bad, Some(message.clone()));
            }
            EventKind::NodeDropping { node_id, node_name } => {
                let instance = self.instance(node_name, node_id);
                (instance.began, instance.took) = (Instant::now(), None);
                instance.set_state("removing", Tone::Busy, None);
            }
            EventKind::NodeDropped { node_id, node_name, .. } if !self.keeps_removed => {
                self.nodes.entry(node_name.clone()).or_default().instances.shift_remove(node_id);
            }
            EventKind::NodeDropped { node_id, node_name, vanished } => {
                let state = if *vanished { "vanished" } else { "removed" };
                self.instance(node_name, node_id).finish(state, Tone::Idle, None);
            }
            EventKind::NodeLeft { node_id, node_name, message } => {
                self.instance(node_name, node_id).finish("left", Tone::Bad, Some(message.clone()));
            }
            EventKind::NodeReplacing { node_id, node_name, message, .. } => {
                self.instance(node_name, node_id).set_state("replacing", Tone::Busy, Some(message.clone()));
            }
            EventKind::NodeReplacingDrifted { node_id, node_name, message } => {
                self.instance(node_name, node_id).note = Some(format!("renewing: {message}"));
            }
            EventKind::Waiting { node_id, node_name, message } => {
                self.instance(node_name, node_id).note = Some(message.clone());
            }
            EventKind::Progress { node_name, phase, detail } => {
                let detail = detail.as_deref().map(|detail| format!(" {detail}")).unwrap_or_default();
                self.note_busy_instance(node_name, format!("{phase}{detail}"));
            }
            EventKind::Retrying { node_name, call, message, seconds } => {
                self.note_busy_instance(node_name, format!("{call} again in {seconds:.1} s: {message}"));
            }
            EventKind::NodeFailing { node_name, failures, seconds, message } => {
                let note = format!("failed {failures} times in a row, next attempt in {seconds:.0} s: {message}");
                self.nodes.entry(node_name.clone()).or_default().note = Some(note);
            }
            EventKind::NodeForgotten { .. }
            | EventKind::Hold { .. }
            | EventKind::HoldEnded
            | EventKind::RollingBack { .. }
            | EventKind::Suspended
            | EventKind::Resumed => self.title = event.to_string(),
            EventKind::InfraStart { .. }
            | EventKind::InfraUpdated
            | EventKind::InfraReady
            | EventKind::InfraDrop
            | EventKind::Unknown(_) => {}
            EventKind::NodeScaled { node_name, to, .. } => {
                self.nodes.entry(node_name.clone()).or_default().target = *to as usize;
            }
        }
    }

    fn apply_plan(&mut self, plan: &Plan) {
        for action in &plan.actions {
            if let Some(id) = &action.instance {
                let (state, tone) = match action.kind {
                    ActionKind::Check | ActionKind::ReplaceDrifted => ("ready", Tone::Good),
                    ActionKind::Create | ActionKind::Resume => ("known", Tone::Busy),
                    ActionKind::Replace => ("replacing", Tone::Busy),
                    ActionKind::Destroy => ("to remove", Tone::Busy),
                };
                self.instance(&action.node, id).set_state(state, tone, None);
            }
        }
    }

    /// Sets the note of the youngest busy instance of a node: events of plugins name the node and not the instance.
    fn note_busy_instance(&mut self, node: &str, note: String) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        if let Some(instance) = node.instances.values_mut().rev().find(|instance| instance.tone == Tone::Busy) {
            instance.note = Some(note);
        }
    }

    /// Returns the lines to draw, at most `width` columns wide and at most `height` lines.
    pub(crate) fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let elapsed = self.began.elapsed();
        let frame = usize::try_from(elapsed.as_millis() / 100).unwrap_or_default() % SPINNER.len();
        let (ready, all) = self.count_instances();
        let head = format!(
            "{} {}  {ready} of {all} ready, {}",
            SPINNER[frame],
            one_line(&self.title),
            format_duration(elapsed)
        );
        let mut rows: Vec<_> = self.nodes.iter().map(|(name, node)| self.row(name, node)).collect();
        let mut hidden = 0;
        if count_lines(&rows) + 1 > height {
            // Nodes in a final state are hidden first.
            let before = rows.len();
            rows.retain(|row| matches!(row.tone, Tone::Busy | Tone::Bad));
            hidden = before - rows.len();
            while rows.len() > 1 && count_lines(&rows) + 2 > height {
                rows.pop();
                hidden += 1;
            }
        }
        let mut all = vec![head];
        all.extend(render_rows(&rows, self.colours));
        if hidden > 0 {
            all.push(format!("   and {hidden} more nodes"));
        }
        all.truncate(height);
        all.iter().map(|line| truncate(line, width)).collect()
    }

    fn count_instances(&self) -> (usize, usize) {
        let instances = self.nodes.values().flat_map(|node| node.instances.values());
        let ready = instances.filter(|instance| instance.tone == Tone::Good).count();
        let alive =
            |node: &NodeProgress| node.instances.values().filter(|instance| instance.tone != Tone::Idle).count();
        (ready, self.nodes.values().map(|node| node.target.max(alive(node))).sum())
    }

    fn row(&self, name: &str, node: &NodeProgress) -> TreeRow {
        let name = name.to_owned();
        if node.instances.is_empty() {
            let missing = |other: &&String| self.nodes.get(*other).is_some_and(|other| !other.is_ready());
            let missing: Vec<_> = node.depends_on.iter().filter(missing).map(String::as_str).collect();
            let state = if missing.is_empty() { "next".into() } else { format!("waiting for {}", missing.join(", ")) };
            let (address, time) = (String::new(), String::new());
            let note = node.note.clone();
            return TreeRow { name, state, tone: Tone::Idle, address, time, note, children: Vec::new() };
        }
        let mut children: Vec<_> =
            node.instances.values().enumerate().map(|(at, instance)| instance.row(at + 1)).collect();
        if node.target <= 1 && children.len() == 1 {
            let only = children.remove(0);
            let note = node.note.clone().or_else(|| only.note.clone());
            return TreeRow { name, note, ..only };
        }
        let ready = children.iter().filter(|row| row.tone == Tone::Good).count();
        let busy = children.iter().any(|row| matches!(row.tone, Tone::Busy | Tone::Bad)) || ready < node.target;
        let tone = if busy { Tone::Busy } else { Tone::Good };
        let (state, note) = (format_ready(ready, node.target), node.note.clone());
        TreeRow { name, state, tone, address: String::new(), time: String::new(), note, children }
    }
}

/// Returns the word and the tone of an instance of which only the state is known.
fn state_word(state: InstanceState) -> (&'static str, Tone) {
    match state {
        InstanceState::Ready => ("ready", Tone::Good),
        InstanceState::Unhealthy => ("unhealthy", Tone::Bad),
        InstanceState::Stopped => ("stopped", Tone::Bad),
        InstanceState::Vanished => ("vanished", Tone::Bad),
        InstanceState::Failed => ("failed", Tone::Bad),
        InstanceState::Creating
        | InstanceState::UnknownOutcome
        | InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Destroying => ("known", Tone::Busy),
    }
}

impl NodeProgress {
    fn is_ready(&self) -> bool {
        self.instances.values().filter(|instance| instance.tone == Tone::Good).count() >= self.target
    }
}

impl InstanceProgress {
    fn row(&self, number: usize) -> TreeRow {
        TreeRow {
            name: format!("#{number}"),
            state: self.state.to_owned(),
            tone: self.tone,
            address: self.address.clone(),
            time: format_duration(self.took.unwrap_or_else(|| self.began.elapsed())),
            note: self.note.clone(),
            children: Vec::new(),
        }
    }
}

fn count_lines(rows: &[TreeRow]) -> usize {
    rows.iter().map(|row| 1 + usize::from(row.note.is_some()) + count_lines(&row.children)).sum()
}

/// Cuts a line to a width, colours aside.
fn truncate(line: &str, width: usize) -> String {
    let (mut columns, mut escape, mut cut) = (0, false, String::with_capacity(line.len()));
    for character in line.chars() {
        if escape {
            escape = character != 'm';
        } else if character == '\x1b' {
            escape = true;
        } else if columns == width {
            cut.push_str("\x1b[0m");
            break;
        } else {
            columns += 1;
        }
        cut.push(character);
    }
    cut
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn tree_of(names: &[&str]) -> ProgressTree {
        let node = |target| NodeProgress { target, ..NodeProgress::default() };
        ProgressTree::new("building x".into(), false, names.iter().map(|name| ((*name).to_owned(), node(1))).collect())
    }

    fn apply(tree: &mut ProgressTree, kind: EventKind) {
        tree.apply(&Event { id: None, time: Timestamp::UNIX_EPOCH, infra_id: "i".into(), kind });
    }

    fn creating(name: &str) -> EventKind {
        EventKind::NodeCreating { node_id: format!("{name}-1"), node_name: name.into(), driver: "local".into() }
    }

    fn created(name: &str) -> EventKind {
        let addresses = vec![Address { value: "127.0.0.9".into(), internal: false }];
        EventKind::NodeCreated { node_id: format!("{name}-1"), node_name: name.into(), addresses }
    }

    #[test]
    fn nodes_go_from_waiting_to_ready() {
        let mut tree = tree_of(&["db", "web"]);
        tree.nodes["web"].depends_on = vec!["db".into()];
        assert!(tree.lines(80, 24)[2].contains("waiting for db"));
        apply(&mut tree, creating("db"));
        assert!(tree.lines(80, 24)[1].contains("creating"));
        apply(&mut tree, created("db"));
        let lines = tree.lines(80, 24);
        assert!(lines[0].contains("1 of 2 ready"), "{lines:?}");
        assert!(lines[1].contains("ready") && lines[1].contains("127.0.0.9"), "{lines:?}");
        assert!(lines[2].contains("next"), "{lines:?}");
    }

    #[test]
    fn a_long_tree_fits_the_terminal() {
        let names: Vec<_> = (0..100).map(|at| format!("n{at}")).collect();
        let mut tree = tree_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        names.iter().take(50).for_each(|name| apply(&mut tree, creating(name)));
        names.iter().take(40).for_each(|name| apply(&mut tree, created(name)));
        let lines = tree.lines(20, 10);
        assert!(lines.len() <= 10);
        assert!(lines.iter().all(|line| line.trim_end_matches("\x1b[0m").chars().count() <= 20), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("n40")), "what is under way is shown: {lines:?}");
    }

    #[test]
    fn replaced_instances_leave_no_rows() {
        let mut tree = tree_of(&["db"]);
        tree.keeps_removed = false;
        for at in 0..8 {
            let (id, name) = (format!("db-{at}"), "db".to_owned());
            let (node_id, node_name) = (id.clone(), name.clone());
            apply(&mut tree, EventKind::NodeCreating { node_id, node_name, driver: "local".into() });
            let (node_id, node_name) = (id.clone(), name.clone());
            apply(&mut tree, EventKind::NodeCreated { node_id, node_name, addresses: Vec::new() });
            assert_eq!(tree.lines(80, 24).len(), 2, "one line for one instance");
            apply(&mut tree, EventKind::NodeDropped { node_id: id, node_name: name, vanished: at % 2 == 0 });
        }
    }

    #[test]
    fn a_surplus_is_shown() {
        let mut tree = tree_of(&["db"]);
        for at in 0..3 {
            let (node_id, node_name) = (format!("db-{at}"), "db".to_owned());
            apply(&mut tree, EventKind::NodeCreated { node_id, node_name, addresses: Vec::new() });
        }
        assert!(tree.lines(80, 24)[1].contains("3 ready, 1 wanted"), "{:?}", tree.lines(80, 24));
    }

    #[test]
    fn progress_is_noted_at_the_busy_instance() {
        let mut tree = tree_of(&["db"]);
        apply(&mut tree, creating("db"));
        let progress = EventKind::Progress { node_name: "db".into(), phase: "pulling image".into(), detail: None };
        apply(&mut tree, progress);
        assert!(tree.lines(80, 24)[2].contains("pulling image"));
    }

    #[test]
    fn lines_are_cut_without_breaking_colours() {
        assert_eq!(truncate("\x1b[32mready\x1b[0m!", 3), "\x1b[32mrea\x1b[0m");
        assert_eq!(truncate("ready", 5), "ready");
    }
}
