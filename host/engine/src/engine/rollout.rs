//! Making anew what works and is not what it should be.

use std::collections::{HashMap, HashSet};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::build::{Build, build_error};
use crate::act::EntryPoint;
use crate::dispatch::{BringUp, FailurePolicy, RunEnd, TaskSpec, bring_up, tear_down};
use crate::drift::dependency_order;
use crate::error::EngineError;
use crate::event::EventKind;
use crate::plan::{ActionKind, PlanOptions, Rollout, Targets, plan};
use crate::request::StopSignal;
use crate::state::{InstanceRecord, load_instances};
use crate::status::{InfrastructureState, InstanceState};

impl Build<'_> {
    /// One by one, in the order of the dependencies: another instance is made, and when it is ready, the old one goes. The
    /// first that does not get ready ends it; the old one stays then, and so does what was renewed before.
    pub(super) async fn roll_out(&self, targets: &Targets) -> Result<(), EngineError> {
        if self.rollout == Rollout::default() {
            return Ok(());
        }
        let store = &*self.engine.store;
        // What was found dead meanwhile is replaced by now, so others may have been told of what is gone.
        let wishes = PlanOptions { rollout: self.rollout, ..PlanOptions::for_targets(targets) };
        let plan = plan(&self.desired.infrastructure, &load_instances(store, self.id).await?, &wishes);
        let mut places: Vec<_> = plan.actions.iter().filter(|action| action.kind == ActionKind::Renew).collect();
        let rank: HashMap<_, _> = dependency_order(&self.desired.infrastructure.nodes)
            .into_iter()
            .enumerate()
            .map(|(rank, node)| (node.name.as_str(), rank))
            .collect();
        places.sort_by_key(|action| rank.get(action.node.as_str()));
        for action in places {
            let (Some(node), Some(old)) = (self.desired.index(&action.node), &action.instance) else { continue };
            let kept = load_instances(store, self.id).await?.into_iter().filter(InstanceRecord::was_ready).collect();
            let event = EventKind::NodeRenewing {
                node_id: old.clone(),
                node_name: action.node.clone(),
                message: action.reason.clone(),
            };
            self.write(Vec::new(), vec![event]).await?;
            let id = Uuid::now_v7().to_string();
            let slot = TaskSpec { node, entry_point: EntryPoint::CreateBeforeDestroy(old.clone()), id: id.clone() };
            let job = BringUp {
                tasks: vec![slot],
                already_ready: kept,
                on_failure: FailurePolicy::AbortAll,
                replace_at_once: usize::MAX,
            };
            let world = self.engine.run_context(self.id, self.lease, CancellationToken::new());
            let raised = bring_up(&world, &self.desired, job, &self.stop, &self.lease.lost).await;
            match &raised.end {
                RunEnd::Done | RunEnd::Stopped => {}
                RunEnd::JournalFailed(refused) => return Err(refused.clone().into_error(self.id)),
                RunEnd::Aborted => {
                    let left = self.unfinished(&HashSet::from([id])).await?;
                    return Err(EngineError::Stopped { rolled_back: false, left });
                }
            }
            let records = load_instances(store, self.id).await?;
            // The store knows best whether there is one to take its place.
            let is_there = records.iter().any(|record| record.id == id && record.state == InstanceState::Ready);
            let goes = if is_there { old } else { &id };
            let records = records.into_iter().filter(|record| record.id == *goes);
            // Only a second request to stop ends this.
            let stop = StopSignal { graceful: CancellationToken::new(), immediate: self.stop.immediate.clone() };
            let world = self.engine.run_context(self.id, self.lease, self.stop.immediate.child_token());
            let lowered = tear_down(&world, records.collect(), &stop, &self.lease.lost).await;
            if let RunEnd::JournalFailed(refused) = lowered.end {
                return Err(refused.into_error(self.id));
            }
            if goes != old {
                let message = raised.failures.first().map_or_else(|| "stopped".to_owned(), ToString::to_string);
                let message = format!("not everything is renewed: {message}");
                self.set_state(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
                return Err(build_error(raised, true, lowered.left));
            }
        }
        Ok(())
    }
}
