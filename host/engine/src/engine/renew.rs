//! Making anew what works and is not what it should be.

use std::collections::{HashMap, HashSet};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::build::{Build, ended};
use crate::act::Start;
use crate::change::in_order;
use crate::dispatch::{Ending, OnTrouble, Raise, Slot, lower, raise};
use crate::error::EngineError;
use crate::event::What;
use crate::plan::{ActionKind, Renew, Targets, Wishes, plan};
use crate::request::Stop;
use crate::state::{InstanceRecord, load_instances};
use crate::status::{InfrastructureState, InstanceState};

impl Build<'_> {
    /// One by one, in the order of the dependencies: another instance is made, and when it is ready, the old one goes. The
    /// first that does not get ready ends it; the old one stays then, and so does what was renewed before.
    pub(super) async fn renew_all(&self, targets: &Targets) -> Result<(), EngineError> {
        if self.renew == Renew::default() {
            return Ok(());
        }
        let store = &*self.engine.store;
        // What was found dead meanwhile is replaced by now, so others may have been told of what is gone.
        let wishes = Wishes { renew: self.renew, ..Wishes::of(targets) };
        let plan = plan(&self.desired.infrastructure, &load_instances(store, self.id).await?, &wishes);
        let mut places: Vec<_> = plan.actions.iter().filter(|action| action.kind == ActionKind::Renew).collect();
        let rank: HashMap<_, _> = in_order(&self.desired.infrastructure.nodes)
            .into_iter()
            .enumerate()
            .map(|(rank, node)| (node.name.as_str(), rank))
            .collect();
        places.sort_by_key(|action| rank.get(action.node.as_str()));
        for action in places {
            let (Some(node), Some(old)) = (self.desired.index(&action.node), &action.instance) else { continue };
            let kept = load_instances(store, self.id).await?.into_iter().filter(InstanceRecord::was_ready).collect();
            let event = What::NodeRenewing {
                node_id: old.clone(),
                node_name: action.node.clone(),
                message: action.reason.clone(),
            };
            self.write(Vec::new(), vec![event]).await?;
            let id = Uuid::now_v7().to_string();
            let slot = Slot { node, start: Start::InPlaceOf(old.clone()), id: id.clone() };
            let job = Raise { slots: vec![slot], kept, on_trouble: OnTrouble::Halt, replace_at_once: usize::MAX };
            let world = self.engine.world(self.id, self.session, CancellationToken::new());
            let raised = raise(&world, &self.desired, job, &self.stop, &self.session.lost).await;
            match &raised.ending {
                Ending::Done | Ending::Stopped => {}
                Ending::Refused(refused) => return Err(refused.clone().into_error(self.id)),
                Ending::Aborted => {
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
            let stop = Stop { orderly: CancellationToken::new(), now: self.stop.now.clone() };
            let world = self.engine.world(self.id, self.session, self.stop.now.child_token());
            let lowered = lower(&world, records.collect(), &stop, &self.session.lost).await;
            if let Ending::Refused(refused) = lowered.ending {
                return Err(refused.into_error(self.id));
            }
            if goes != old {
                let message = raised.failures.first().map_or_else(|| "stopped".to_owned(), ToString::to_string);
                let message = format!("not everything is renewed: {message}");
                self.enter(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
                return Err(ended(raised, true, lowered.left));
            }
        }
        Ok(())
    }
}
