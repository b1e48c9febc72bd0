//! Reads of records.

use serde::de::DeserializeOwned;

use super::{InstanceRecord, decode, keys};
use crate::error::EngineError;
use crate::ports::{Entry, Store};

const RANGE_PAGE_SIZE: usize = 1000;

/// Returns the record under a key.
pub(crate) async fn load_record<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<T>, EngineError> {
    match store.get(key).await? {
        Some(entry) => decode(key, &entry.value).map(Some),
        None => Ok(None),
    }
}

/// Returns all entries whose key starts with a prefix, page by page.
pub(crate) async fn range_all(store: &dyn Store, prefix: &str) -> Result<Vec<Entry>, EngineError> {
    let mut entries = Vec::<Entry>::new();
    loop {
        let after = entries.last().map(|entry| entry.key.clone());
        let page = store.range(prefix, after.as_deref(), RANGE_PAGE_SIZE).await?;
        let last = page.len() < RANGE_PAGE_SIZE;
        entries.extend(page);
        if last {
            return Ok(entries);
        }
    }
}

/// Returns all instances of an infrastructure, oldest first: their ids are in the order of time.
pub(crate) async fn load_instances(store: &dyn Store, id: &str) -> Result<Vec<InstanceRecord>, EngineError> {
    let entries = range_all(store, &keys::instances(id)).await?;
    entries.iter().map(|entry| decode(&entry.key, &entry.value)).collect()
}
