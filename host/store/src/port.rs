//! The engine's port to the store.

use std::time::Duration;

use async_trait::async_trait;
use occopus_engine::ports::{Changes, CommitOutcome, Entry, LeaseId, Revision, Store, StoreError, Transaction};
use rusqlite::Connection;

use crate::sqlite::SqliteStore;
use crate::writer::WriteOutcome;
use crate::{lease, read, watch, write};

/// Returns the error for an outcome that is not of the requested kind, which can't happen.
fn mismatched_reply() -> StoreError {
    StoreError::Unknown { message: "internal error: mismatched reply from the store".to_owned() }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        self.read(move |connection| read::get(connection, &key)).await
    }

    async fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read(move |connection| read::range(connection, &prefix, after.as_deref(), limit)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<CommitOutcome, StoreError> {
        match self.write(move |connection| write::apply(connection, &transaction).map(WriteOutcome::Committed)).await? {
            WriteOutcome::Committed(committed) => Ok(committed),
            _ => Err(mismatched_reply()),
        }
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        match self.write(move |connection| lease::grant(connection, ttl).map(WriteOutcome::Lease)).await? {
            WriteOutcome::Lease(lease) => Ok(lease),
            _ => Err(mismatched_reply()),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError> {
        match self.write(move |connection| lease::keep_alive(connection, lease).map(WriteOutcome::KeepAlive)).await? {
            WriteOutcome::KeepAlive(kept) => Ok(kept),
            _ => Err(mismatched_reply()),
        }
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoke = move |connection: &Connection| {
            lease::revoke(connection, lease)?;
            write::purge(connection)?;
            Ok(WriteOutcome::KeepAlive(false))
        };
        self.write(revoke).await.map(drop)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Changes, StoreError> {
        Ok(watch::changes(self.clone(), prefix.to_owned(), after))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.read(read::revision).await
    }
}
