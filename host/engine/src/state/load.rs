//! Reads of records.

use serde::de::DeserializeOwned;

use super::{InstanceRecord, Pages, decode, keys};
use crate::error::EngineError;
use crate::id::InfrastructureId;
use crate::ports::Store;

/// Returns the record under a key.
pub(crate) async fn load_record<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<T>, EngineError> {
    match store.get(key).await? {
        Some(entry) => Ok(Some(decode(key, &entry.value)?)),
        None => Ok(None),
    }
}

/// Returns all instances of an infrastructure, oldest first: their ids are in the order of time.
pub(crate) async fn load_instances(
    store: &dyn Store,
    id: &InfrastructureId,
) -> Result<Vec<InstanceRecord>, EngineError> {
    let entries = Pages::collect(store, &keys::instances(id)).await?;
    entries.iter().map(|entry| Ok(decode(&entry.key, &entry.value)?)).collect()
}
