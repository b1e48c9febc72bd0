//! Removal of records whose machines can't be removed.

use tokio::sync::mpsc;

use super::Engine;
use super::existing::load_existing;
use crate::act::leftover;
use crate::error::EngineError;
use crate::event::EventKind;
use crate::id::InfrastructureId;
use crate::state::{InstanceRecord, keys, load_record};
use crate::status::Leftover;

/// Removes the record of an instance, without a call to its cloud.
pub(super) async fn forget(engine: &Engine, id: &InfrastructureId, instance: &str) -> Result<Leftover, EngineError> {
    load_existing(engine, id).await?;
    let (events, _) = mpsc::unbounded_channel();
    let lease = engine.acquire_lease(id, events).await?;
    let outcome = async {
        let unknown = || EngineError::UnknownInstance { node: String::new(), instance: instance.into() };
        let record: InstanceRecord =
            load_record(&*engine.store, &keys::instance(id, instance)).await?.ok_or_else(unknown)?;
        let event = EventKind::NodeForgotten { node_id: record.id.clone(), node_name: record.node.clone() };
        lease.journal.delete_instance(instance, event).await.map_err(|error| error.into_error(id))?;
        Ok(leftover(&record, "forgotten".into()))
    };
    let outcome = outcome.await;
    lease.revoke().await;
    outcome
}
