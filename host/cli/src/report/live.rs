//! What is known of the nodes while something happens, put together from events.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use occopus::graph::tone::ready_of;
use occopus_engine::ports::Address;
use occopus_engine::{ActionKind, Event, InstanceState, Plan, Status, What};
use occopus_model::Infrastructure;

use super::plain::one_line;
use super::tree::{Row, Tone, lines};
use super::words::duration;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// The nodes as they are now.
#[derive(Debug)]
pub(crate) struct Live {
    title: String,
    began: Instant,
    colours: bool,
    nodes: IndexMap<String, Node>,
    /// Rows of instances that are gone stay: to see them go is what is asked for.
    keeps_gone: bool,
}

#[derive(Debug, Default)]
struct Node {
    depends_on: Vec<String>,
    target: usize,
    /// The reason why it is not tried at the moment.
    note: Option<String>,
    instances: IndexMap<String, Instance>,
}

#[derive(Debug)]
struct Instance {
    state: &'static str,
    tone: Tone,
    address: String,
    began: Instant,
    took: Option<Duration>,
    note: Option<String>,
}

impl Instance {
    fn new(state: &'static str, tone: Tone) -> Self {
        Self { state, tone, address: String::new(), began: Instant::now(), took: None, note: None }
    }

    fn go(&mut self, state: &'static str, tone: Tone, note: Option<String>) {
        (self.state, self.tone, self.note) = (state, tone, note);
    }

    /// Nothing more happens to it.
    fn settle(&mut self, state: &'static str, tone: Tone, note: Option<String>) {
        self.go(state, tone, note);
        self.took.get_or_insert_with(|| self.began.elapsed());
    }

    fn reached(&mut self, addresses: &[Address]) {
        if let Some(first) = addresses.first() {
            self.address.clone_from(&first.value);
        }
    }
}

impl Live {
    /// Before anything of a description is made.
    pub(crate) fn of_description(infrastructure: &Infrastructure, colours: bool) -> Self {
        let nodes = infrastructure.nodes.iter().map(|node| {
            let target = node.scaling.min as usize;
            let known = Node { depends_on: node.depends_on.clone(), target, ..Node::default() };
            (node.name.clone(), known)
        });
        Self::new(format!("building {}", infrastructure.name), colours, nodes.collect())
    }

    /// What is known of an infrastructure to which something is about to happen.
    pub(crate) fn of_status(doing: &str, status: &Status, colours: bool) -> Self {
        let nodes = status.nodes.iter().map(|node| {
            let instances = node.instances.iter().map(|instance| {
                let (word, tone) = known(instance.state);
                let mut shown = Instance::new(word, tone);
                shown.reached(&instance.addresses);
                (instance.id.clone(), shown)
            });
            let depends_on = node.depends_on.clone();
            let (target, instances) = (node.target as usize, instances.collect());
            (node.name.clone(), Node { depends_on, target, note: None, instances })
        });
        let live = Self::new(format!("{doing} {}", status.name), colours, nodes.collect());
        Self { keeps_gone: false, ..live }
    }

    fn new(title: String, colours: bool, nodes: IndexMap<String, Node>) -> Self {
        Self { title, began: Instant::now(), colours, nodes, keeps_gone: true }
    }

    /// The same, with the rows of instances that are gone.
    pub(crate) fn keeping_gone(self) -> Self {
        Self { keeps_gone: true, ..self }
    }

    fn instance(&mut self, node: &str, id: &str) -> &mut Instance {
        let node = self.nodes.entry(node.to_owned()).or_default();
        node.instances.entry(id.to_owned()).or_insert_with(|| Instance::new("known", Tone::Busy))
    }

    /// Takes in what happened.
    pub(crate) fn apply(&mut self, event: &Event) {
        match &event.what {
            What::Planned { plan } => self.planned(plan),
            What::NodeCreating { node_id, node_name, driver } => {
                let instance = self.instance(node_name, node_id);
                *instance = Instance::new("creating", Tone::Busy);
                instance.note = Some(format!("on {driver}"));
            }
            What::NodePlaced { node_id, node_name, adopted } => {
                let note = adopted.then(|| "found again".to_owned());
                self.instance(node_name, node_id).go("starting", Tone::Busy, note);
            }
            What::NodeRunning { node_id, node_name, addresses } => {
                let instance = self.instance(node_name, node_id);
                instance.go("running", Tone::Busy, None);
                instance.reached(addresses);
            }
            What::NodeCreated { node_id, node_name, addresses } => {
                let instance = self.instance(node_name, node_id);
                instance.settle("ready", Tone::Good, None);
                instance.reached(addresses);
                self.nodes.entry(node_name.clone()).or_default().note = None;
            }
            What::NodeUnknown { node_id, node_name, message } => {
                self.instance(node_name, node_id).go("looking", Tone::Bad, Some(message.clone()));
            }
            What::NodeFallback { node_id, node_name, driver, message } => {
                let note = format!("no capacity on {driver}: {message}");
                self.instance(node_name, node_id).go("creating", Tone::Busy, Some(note));
            }
            What::NodeFailed { node_id, node_name, message, .. } => {
                self.instance(node_name, node_id).settle("failed", Tone::Bad, Some(message.clone()));
            }
            What::NodeHealth { node_id, node_name, healthy: true, .. } => {
                self.instance(node_name, node_id).go("ready", Tone::Good, None);
            }
            What::NodeHealth { node_id, node_name, message, .. } => {
                self.instance(node_name, node_id).go("unhealthy", Tone::Bad, Some(message.clone()));
            }
            What::NodeDropping { node_id, node_name } => {
                let instance = self.instance(node_name, node_id);
                (instance.began, instance.took) = (Instant::now(), None);
                instance.go("removing", Tone::Busy, None);
            }
            What::NodeDropped { node_id, node_name, .. } if !self.keeps_gone => {
                self.nodes.entry(node_name.clone()).or_default().instances.shift_remove(node_id);
            }
            What::NodeDropped { node_id, node_name, vanished } => {
                let state = if *vanished { "vanished" } else { "removed" };
                self.instance(node_name, node_id).settle(state, Tone::Quiet, None);
            }
            What::NodeLeft { node_id, node_name, message } => {
                self.instance(node_name, node_id).settle("left", Tone::Bad, Some(message.clone()));
            }
            What::NodeReplacing { node_id, node_name, message, .. } => {
                self.instance(node_name, node_id).go("replacing", Tone::Busy, Some(message.clone()));
            }
            What::NodeRenewing { node_id, node_name, message } => {
                self.instance(node_name, node_id).note = Some(format!("renewing: {message}"));
            }
            What::Waiting { node_id, node_name, message } => {
                self.instance(node_name, node_id).note = Some(message.clone());
            }
            What::Progress { node_name, phase, detail } => {
                let detail = detail.as_deref().map(|detail| format!(" {detail}")).unwrap_or_default();
                self.note_busy(node_name, format!("{phase}{detail}"));
            }
            What::Retrying { node_name, call, message, seconds } => {
                self.note_busy(node_name, format!("{call} again in {seconds:.1} s: {message}"));
            }
            What::NodeFailing { node_name, failures, seconds, message } => {
                let note = format!("failed {failures} times in a row, next attempt in {seconds:.0} s: {message}");
                self.nodes.entry(node_name.clone()).or_default().note = Some(note);
            }
            What::NodeForgotten { .. }
            | What::Hold { .. }
            | What::HoldEnded
            | What::RollingBack { .. }
            | What::Suspended
            | What::Resumed => self.title = event.to_string(),
            What::InfraStart { .. } | What::InfraUpdated | What::InfraReady | What::InfraDrop | What::Unknown => {}
            What::NodeScaled { node_name, to, .. } => {
                self.nodes.entry(node_name.clone()).or_default().target = *to as usize;
            }
        }
    }

    fn planned(&mut self, plan: &Plan) {
        for action in &plan.actions {
            if let Some(id) = &action.instance {
                let (state, tone) = match action.kind {
                    ActionKind::Check | ActionKind::Renew => ("ready", Tone::Good),
                    ActionKind::Create | ActionKind::Resume => ("known", Tone::Busy),
                    ActionKind::Replace => ("replacing", Tone::Busy),
                    ActionKind::Destroy => ("to remove", Tone::Busy),
                };
                self.instance(&action.node, id).go(state, tone, None);
            }
        }
    }

    /// Events of plugins name the node and not the instance: it is the one at which something happens.
    fn note_busy(&mut self, node: &str, note: String) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        if let Some(instance) = node.instances.values_mut().rev().find(|instance| instance.tone == Tone::Busy) {
            instance.note = Some(note);
        }
    }

    /// The lines to draw; no wider and no more than these.
    pub(crate) fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let elapsed = self.began.elapsed();
        let frame = usize::try_from(elapsed.as_millis() / 100).unwrap_or_default() % SPINNER.len();
        let (ready, all) = self.counts();
        let head =
            format!("{} {}  {ready} of {all} ready, {}", SPINNER[frame], one_line(&self.title), duration(elapsed));
        let mut rows: Vec<_> = self.nodes.iter().map(|(name, node)| self.row(name, node)).collect();
        let mut hidden = 0;
        if count(&rows) + 1 > height {
            // What is settled is the least interesting.
            let before = rows.len();
            rows.retain(|row| matches!(row.tone, Tone::Busy | Tone::Bad));
            hidden = before - rows.len();
            while rows.len() > 1 && count(&rows) + 2 > height {
                rows.pop();
                hidden += 1;
            }
        }
        let mut all = vec![head];
        all.extend(lines(&rows, self.colours));
        if hidden > 0 {
            all.push(format!("   and {hidden} more nodes"));
        }
        all.truncate(height);
        all.iter().map(|line| cut(line, width)).collect()
    }

    fn counts(&self) -> (usize, usize) {
        let instances = self.nodes.values().flat_map(|node| node.instances.values());
        let ready = instances.filter(|instance| instance.tone == Tone::Good).count();
        let alive = |node: &Node| node.instances.values().filter(|instance| instance.tone != Tone::Quiet).count();
        (ready, self.nodes.values().map(|node| node.target.max(alive(node))).sum())
    }

    fn row(&self, name: &str, node: &Node) -> Row {
        let name = name.to_owned();
        if node.instances.is_empty() {
            let missing = |other: &&String| self.nodes.get(*other).is_some_and(|other| !other.is_ready());
            let missing: Vec<_> = node.depends_on.iter().filter(missing).map(String::as_str).collect();
            let state = if missing.is_empty() { "next".into() } else { format!("waits for {}", missing.join(", ")) };
            let (address, time) = (String::new(), String::new());
            let note = node.note.clone();
            return Row { name, state, tone: Tone::Quiet, address, time, note, children: Vec::new() };
        }
        let mut children: Vec<_> = node.instances.values().enumerate().map(|(at, it)| it.row(at + 1)).collect();
        if node.target <= 1 && children.len() == 1 {
            let only = children.remove(0);
            let note = node.note.clone().or_else(|| only.note.clone());
            return Row { name, note, ..only };
        }
        let ready = children.iter().filter(|row| row.tone == Tone::Good).count();
        let busy = children.iter().any(|row| matches!(row.tone, Tone::Busy | Tone::Bad)) || ready < node.target;
        let tone = if busy { Tone::Busy } else { Tone::Good };
        let (state, note) = (ready_of(ready, node.target), node.note.clone());
        Row { name, state, tone, address: String::new(), time: String::new(), note, children }
    }
}

/// Returns the word and the tone for an instance of which only its state is known.
fn known(state: InstanceState) -> (&'static str, Tone) {
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

impl Node {
    fn is_ready(&self) -> bool {
        self.instances.values().filter(|instance| instance.tone == Tone::Good).count() >= self.target
    }
}

impl Instance {
    fn row(&self, number: usize) -> Row {
        Row {
            name: format!("#{number}"),
            state: self.state.to_owned(),
            tone: self.tone,
            address: self.address.clone(),
            time: duration(self.took.unwrap_or_else(|| self.began.elapsed())),
            note: self.note.clone(),
            children: Vec::new(),
        }
    }
}

fn count(rows: &[Row]) -> usize {
    rows.iter().map(|row| 1 + usize::from(row.note.is_some()) + count(&row.children)).sum()
}

/// Cuts a line to a width, colours aside.
fn cut(line: &str, width: usize) -> String {
    let (mut shown, mut escape, mut cut) = (0, false, String::with_capacity(line.len()));
    for character in line.chars() {
        if escape {
            escape = character != 'm';
        } else if character == '\x1b' {
            escape = true;
        } else if shown == width {
            cut.push_str("\x1b[0m");
            break;
        } else {
            shown += 1;
        }
        cut.push(character);
    }
    cut
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn live(names: &[&str]) -> Live {
        let node = |target| Node { target, ..Node::default() };
        Live::new("building x".into(), false, names.iter().map(|name| ((*name).to_owned(), node(1))).collect())
    }

    fn apply(live: &mut Live, what: What) {
        live.apply(&Event { id: None, time: Timestamp::UNIX_EPOCH, infra_id: "i".into(), what });
    }

    fn creating(name: &str) -> What {
        What::NodeCreating { node_id: format!("{name}-1"), node_name: name.into(), driver: "local".into() }
    }

    fn created(name: &str) -> What {
        let addresses = vec![Address { value: "127.0.0.9".into(), internal: false }];
        What::NodeCreated { node_id: format!("{name}-1"), node_name: name.into(), addresses }
    }

    #[test]
    fn nodes_go_from_waiting_to_ready() {
        let mut live = live(&["db", "web"]);
        live.nodes["web"].depends_on = vec!["db".into()];
        assert!(live.lines(80, 24)[2].contains("waits for db"));
        apply(&mut live, creating("db"));
        assert!(live.lines(80, 24)[1].contains("creating"));
        apply(&mut live, created("db"));
        let lines = live.lines(80, 24);
        assert!(lines[0].contains("1 of 2 ready"), "{lines:?}");
        assert!(lines[1].contains("ready") && lines[1].contains("127.0.0.9"), "{lines:?}");
        assert!(lines[2].contains("next"), "{lines:?}");
    }

    #[test]
    fn a_long_tree_fits_the_terminal() {
        let names: Vec<_> = (0..100).map(|at| format!("n{at}")).collect();
        let mut live = live(&names.iter().map(String::as_str).collect::<Vec<_>>());
        names.iter().take(50).for_each(|name| apply(&mut live, creating(name)));
        names.iter().take(40).for_each(|name| apply(&mut live, created(name)));
        let lines = live.lines(20, 10);
        assert!(lines.len() <= 10);
        assert!(lines.iter().all(|line| line.trim_end_matches("\x1b[0m").chars().count() <= 20), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("n40")), "what is under way is shown: {lines:?}");
    }

    #[test]
    fn what_was_replaced_leaves_no_rows() {
        let mut live = live(&["db"]);
        live.keeps_gone = false;
        for at in 0..8 {
            let (id, name) = (format!("db-{at}"), "db".to_owned());
            let (node_id, node_name) = (id.clone(), name.clone());
            apply(&mut live, What::NodeCreating { node_id, node_name, driver: "local".into() });
            let (node_id, node_name) = (id.clone(), name.clone());
            apply(&mut live, What::NodeCreated { node_id, node_name, addresses: Vec::new() });
            assert_eq!(live.lines(80, 24).len(), 2, "one line for one instance");
            apply(&mut live, What::NodeDropped { node_id: id, node_name: name, vanished: at % 2 == 0 });
        }
    }

    #[test]
    fn more_than_are_wanted_are_told_as_such() {
        let mut live = live(&["db"]);
        for at in 0..3 {
            let (node_id, node_name) = (format!("db-{at}"), "db".to_owned());
            apply(&mut live, What::NodeCreated { node_id, node_name, addresses: Vec::new() });
        }
        assert!(live.lines(80, 24)[1].contains("3 ready, 1 wanted"), "{:?}", live.lines(80, 24));
    }

    #[test]
    fn progress_lands_on_the_instance_at_work() {
        let mut live = live(&["db"]);
        apply(&mut live, creating("db"));
        let progress = What::Progress { node_name: "db".into(), phase: "pulling image".into(), detail: None };
        apply(&mut live, progress);
        assert!(live.lines(80, 24)[2].contains("pulling image"));
    }

    #[test]
    fn lines_are_cut_without_breaking_colours() {
        assert_eq!(cut("\x1b[32mready\x1b[0m!", 3), "\x1b[32mrea\x1b[0m");
        assert_eq!(cut("ready", 5), "ready");
    }
}
