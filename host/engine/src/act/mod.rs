//! The slow things: calls of plugins, waiting, and writing down what came of it. Each function here is one instance's
//! own story, told in order; who may start when is not decided here.

mod backoff;
mod calls;
mod context;
mod create;
mod endpoints;
mod evidence;
mod gate;
mod inventory;
mod mentions;
mod observer;
mod own;
mod rate;
mod ready;
mod remove;
mod render;
mod steady;
mod survey;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use occopus_model::{Infrastructure, Node};
use tokio_util::sync::CancellationToken;

pub(crate) use calls::list_owned;
pub(crate) use context::{Facts, facts, machine_name};
pub(crate) use create::{Start, bring_up, with_type};
pub(crate) use endpoints::Gates;
pub(crate) use inventory::{Remains, remains};
pub(crate) use mentions::Others;
pub(crate) use ready::{Death, Look, elapsed};
pub(crate) use remove::{Removal, leftover, remove};
pub(crate) use render::{Rendering, is_plain, render, try_checks};
pub(crate) use survey::survey;

use crate::change::Fingerprints;
use crate::error::NodeFailure;
use crate::event::What;
use crate::ports::{CallContext, Clock, Plugins, Progress, Scope};
use crate::session::{Inventory, Journal, Refused, Session};
use crate::settings::Settings;
use crate::state::InstanceRecord;
use endpoints::Endpoints;
use observer::Observer;
pub(crate) use steady::Steady;

/// What every story needs.
pub(crate) struct World {
    pub(crate) id: String,
    pub(crate) plugins: Arc<dyn Plugins>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) journal: Arc<Journal>,
    /// Cancelled when the story should come to an end.
    pub(crate) cancel: CancellationToken,
    /// For what lasts.
    pub(crate) steady: Arc<Steady>,
    pub(crate) inventory: Arc<Inventory>,
    endpoints: Arc<Endpoints>,
    observer: Arc<Observer>,
}

/// What should exist, with its nodes by name.
pub(crate) struct Desired {
    pub(crate) infrastructure: Infrastructure,
    pub(crate) fingerprints: Fingerprints,
    by_name: HashMap<String, usize>,
}

/// Why a story ended early.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It was told to.
    Cancelled,
    /// State can't be written: everything stops.
    Refused(Refused),
    /// The node can't be made.
    Failed(Box<NodeFailure>),
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Desired {
    pub(crate) fn new(infrastructure: Infrastructure) -> Self {
        let by_name = infrastructure.nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        Self { fingerprints: Fingerprints::of(&infrastructure), infrastructure, by_name }
    }

    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn node(&self, index: usize) -> Option<&Node> {
        self.infrastructure.nodes.get(index)
    }
}

impl World {
    #[expect(clippy::too_many_arguments, reason = "what every story needs")]
    pub(crate) fn new(
        id: &str,
        plugins: Arc<dyn Plugins>,
        clock: Arc<dyn Clock>,
        settings: Arc<Settings>,
        session: &Session,
        cancel: CancellationToken,
        steady: Arc<Steady>,
        gates: Arc<Gates>,
    ) -> Arc<Self> {
        let endpoints = Arc::new(Endpoints::new(settings.clone(), gates));
        let observer = Arc::new(Observer::new(settings.observe_batch, clock.clone(), endpoints.clone()));
        let (journal, inventory) = (session.journal.clone(), session.inventory.clone());
        let id = id.into();
        Arc::new(Self { id, plugins, clock, settings, journal, cancel, steady, inventory, endpoints, observer })
    }

    /// The same, with an end of its own.
    pub(crate) fn with_cancel(&self, cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            id: self.id.clone(),
            plugins: self.plugins.clone(),
            clock: self.clock.clone(),
            settings: self.settings.clone(),
            journal: self.journal.clone(),
            cancel,
            steady: self.steady.clone(),
            inventory: self.inventory.clone(),
            endpoints: self.endpoints.clone(),
            observer: self.observer.clone(),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits; false when cancelled meanwhile.
    async fn pause(&self, duration: std::time::Duration) -> bool {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            () = self.clock.sleep(duration) => true,
        }
    }

    fn call(self: &Arc<Self>, node: &str, timeout: std::time::Duration) -> CallContext {
        // Weak, since a plugin may keep it for longer than the run lasts.
        let (world, name) = (Arc::downgrade(self), node.to_owned());
        let progress: Progress = Arc::new(move |phase, detail| {
            let Some(world) = world.upgrade() else { return };
            world.journal.tell(What::Progress {
                node_name: name.clone(),
                phase: phase.into(),
                detail: detail.map(str::to_owned),
            });
        });
        CallContext {
            infrastructure_id: self.id.clone(),
            node: node.into(),
            timeout,
            cancel: self.cancel.clone(),
            progress: Some(progress),
            preview: false,
        }
    }

    fn short_scope(self: &Arc<Self>, record: &InstanceRecord) -> Scope {
        Scope { context: self.call(&record.node, self.settings.short_call), section: record.section.clone() }
    }

    fn long_scope(self: &Arc<Self>, record: &InstanceRecord) -> Scope {
        Scope { context: self.call(&record.node, self.settings.long_call), section: record.section.clone() }
    }
}
