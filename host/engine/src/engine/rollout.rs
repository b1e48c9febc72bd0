//! The rollout: replaces healthy instances that have drifted, one after the other.

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
    /// Replaces the selected instances one after the other, in the order of the dependencies: a new instance is
    /// created, and when it is ready, the old one is removed. The first new instance that does not become ready ends
    /// the rollout; its old one stays, and so do the instances that were replaced before.
    pub(super) async fn roll_out(&self, targets: &Targets) -> Result<(), EngineError> {
        if self.rollout == Rollout::default() {
            return Ok(());
        }
        let store = &*self.owned.engine.store;
        // Instances that were found dead meanwhile are replaced by now, so others may refer to addresses that are gone.
        let options = PlanOptions { rollout: self.rollout, ..PlanOptions::for_targets(targets) };
        let plan = plan(&self.desired.infrastructure, &load_instances(store, self.owned.id).await?, &options);
        let mut drifted: Vec<_> =
            plan.actions.iter().filter(|action| action.kind == ActionKind::ReplaceDrifted).collect();
        let rank: HashMap<_, _> = dependency_order(&self.desired.infrastructure.nodes)
            .into_iter()
            .enumerate()
            .map(|(rank, node)| (node.name.as_str(), rank))
            .collect();
        drifted.sort_by_key(|action| rank.get(action.node.as_str()));
        for action in drifted {
            let (Some(node), Some(old)) = (self.desired.index(&action.node), &action.instance) else { continue };
            let ready =
                load_instances(store, self.owned.id).await?.into_iter().filter(InstanceRecord::was_ready).collect();
            let event = EventKind::NodeReplacingDrifted {
                node_id: old.clone(),
                node_name: action.node.clone(),
                message: action.reason.clone(),
            };
            self.owned.write(Vec::new(), vec![event]).await?;
            let id = Uuid::now_v7().to_string();
            let task = TaskSpec { node, entry_point: EntryPoint::CreateBeforeDestroy(old.clone()), id: id.clone() };
            let job = BringUp {
                tasks: vec![task],
                already_ready: ready,
                on_failure: FailurePolicy::AbortAll,
                replace_at_once: usize::MAX,
            };
            let ctx = self.owned.run_context(CancellationToken::new());
            let brought_up = bring_up(&ctx, &self.desired, job, &self.stop, &self.owned.lease.lost).await;
            match &brought_up.end {
                RunEnd::Done | RunEnd::Stopped => {}
                RunEnd::JournalFailed(error) => return Err(error.clone().into_error(self.owned.id)),
                RunEnd::Aborted => {
                    let left = self.unfinished(&HashSet::from([id])).await?;
                    return Err(EngineError::Stopped { rolled_back: false, left });
                }
            }
            let records = load_instances(store, self.owned.id).await?;
            // The record in the store is the most recent one.
            let is_ready = records.iter().any(|record| record.id == id && record.state == InstanceState::Ready);
            let obsolete = if is_ready { old } else { &id };
            let records = records.into_iter().filter(|record| record.id == *obsolete);
            // Only a second request to stop cancels this.
            let stop = StopSignal { graceful: CancellationToken::new(), immediate: self.stop.immediate.clone() };
            let ctx = self.owned.run_context(self.stop.immediate.child_token());
            let torn_down = tear_down(&ctx, records.collect(), &stop, &self.owned.lease.lost).await;
            if let RunEnd::JournalFailed(error) = torn_down.end {
                return Err(error.into_error(self.owned.id));
            }
            if obsolete != old {
                let message = brought_up.failures.first().map_or_else(|| "stopped".to_owned(), ToString::to_string);
                let message = format!("the rollout is not complete: {message}");
                self.set_state(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
                return Err(build_error(brought_up, true, torn_down.left));
            }
        }
        Ok(())
    }
}
