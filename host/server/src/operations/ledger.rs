//! The ledger of operations, in the store beside the infrastructures.
//!
//! `service/pending/ID` is the one operation of an infrastructure that has not ended, `service/done/ID/OPERATION` are
//! some that have, `service/failed/ID` is its last build, if that has failed, and `service/attached/ID` exists while it
//! is to be maintained. Every change compares revisions, so several services may share one store.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use occopus_api::{Operation, OperationKind, OperationState};
use occopus_engine::ports::{Change, CommitOutcome, Compare, Entry, Revision, Store, StoreError, Transaction, Write};
use occopus_engine::{InfrastructureId, Pages, Position, RecordFormat, VersionField, watch_after};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::record::PendingOperation;
use super::{Claim, FailedBuild, Work};
use crate::idempotency;
use crate::problem::ApiError;

pub(super) const PENDING_PREFIX: &str = "service/pending/";
const ATTACHED_PREFIX: &str = "service/attached/";
/// Prefix of all keys that are watched, with others among them.
const WATCHED_PREFIX: &str = "service/";
pub(super) const DONE_PREFIX: &str = "service/done/";
/// Prefix of the records of failed builds, by the ids of their infrastructures.
pub(super) const FAILED_PREFIX: &str = "service/failed/";
/// Maximum number of ended operations that are kept for each infrastructure.
const MAX_ENDED_OPERATIONS: usize = 20;
/// Format of the records.
const FORMAT: RecordFormat = RecordFormat::new(1, VersionField::V);

/// The operations, and the infrastructures to maintain. Clones share the store.
#[derive(Clone)]
pub(crate) struct Ledger {
    store: Arc<dyn Store>,
}

/// The next work on an infrastructure.
pub(crate) enum NextWork {
    /// An operation that has not ended.
    Operation(Box<Operation>, Box<Work>),
    /// Maintenance, until there is an operation.
    Maintain,
    /// Idleness: no operation, and not to be maintained.
    Idle,
}

/// A change of an infrastructure's pending operation, or of whether the infrastructure is to be maintained; or another
/// change of the service's records, which only moves the position on.
pub(crate) struct LedgerChange {
    /// Id of the infrastructure; none for another change.
    pub(crate) id: Option<InfrastructureId>,
    /// Position from which a reader of this change resumes.
    pub(crate) position: Position,
}

/// A stream of changes, in the order in which they were made.
pub(crate) type LedgerChanges = Pin<Box<dyn Stream<Item = Result<LedgerChange, StoreError>> + Send>>;

/// The outcome of a request.
pub(crate) enum SubmitOutcome {
    /// Accepted as this operation, or covered by this one, which has not ended.
    Accepted(Box<Operation>),
    /// Rejected, since the infrastructure is being removed.
    Destroying,
}

/// A condition on the acceptance of a request.
#[async_trait]
pub(crate) trait SubmitCheck: Send + Sync {
    /// Returns the comparisons that the accepting transaction must make, given the pending work; fails if the request
    /// may not be accepted.
    async fn check(&self, pending: Option<&Work>) -> Result<Vec<Compare>, ApiError>;
}

impl Ledger {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Accepts a request, if the pending operation permits it: a pending removal is never superseded, a survey of all
    /// nodes supersedes nothing, and any other request supersedes the pending operation. `condition` decides, given the
    /// pending work, whether the request may be accepted, and what must not change meanwhile. All of it is decided in
    /// one transaction, which is retried when another writer was faster.
    pub(crate) async fn submit(
        &self,
        id: &InfrastructureId,
        work: &Work,
        by: &str,
        condition: &dyn SubmitCheck,
    ) -> Result<SubmitOutcome, ApiError> {
        let now = Timestamp::now();
        let operation = Operation {
            id: Uuid::now_v7().to_string(),
            infraid: id.to_string(),
            kind: work.kind(),
            state: OperationState::Pending,
            by: by.to_owned(),
            requested: now,
            ended: None,
            message: None,
            error: None,
        };
        loop {
            let key = format!("{PENDING_PREFIX}{id}");
            let entry = self.store.get(&key).await?;
            let before = entry.as_ref().map(decode_record::<PendingOperation>).transpose()?;
            match (before.as_ref().map(|before| before.operation.kind), work.kind()) {
                (Some(OperationKind::Destroy), OperationKind::Destroy)
                | (Some(OperationKind::Build | OperationKind::Maintain), OperationKind::Maintain) => {
                    if let Some(before) = before {
                        idempotency::note_operation(id, &before.operation.id);
                        return Ok(SubmitOutcome::Accepted(Box::new(before.operation)));
                    }
                }
                (Some(OperationKind::Destroy), _) => return Ok(SubmitOutcome::Destroying),
                _ => {}
            }
            let mut compares = condition.check(before.as_ref().map(|before| &before.work)).await?;
            compares.push(Compare::Modified(key.clone(), revision(entry.as_ref())));
            let mut writes = Vec::new();
            if let Some(PendingOperation { operation: mut before, .. }) = before {
                before.set_state(OperationState::Superseded);
                writes.push(done_write(&Operation { ended: Some(now), message: None, ..before })?);
            }
            writes.push(put_record(
                key,
                &PendingOperation { operation: operation.clone(), work: work.clone(), begun: None },
            )?);
            match work {
                Work::Build { .. } => {
                    writes.extend([attach_write(id), Write::Delete { key: format!("{FAILED_PREFIX}{id}") }])
                }
                Work::Destroy => writes.push(Write::Delete { key: format!("{ATTACHED_PREFIX}{id}") }),
                Work::Maintain => {}
            }
            idempotency::note_operation(id, &operation.id);
            if let CommitOutcome::Committed(_) = self.store.commit(Transaction { compares, writes }).await? {
                return Ok(SubmitOutcome::Accepted(Box::new(operation)));
            }
        }
    }

    /// Watches the changes after a position, by any process. None is missed, and none is reported twice. Changes of other
    /// records of the service are reported without an id: a reader who resumes does not read them again.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub(crate) async fn watch(&self, after: Position) -> Result<LedgerChanges, StoreError> {
        let changes = watch_after(&*self.store, WATCHED_PREFIX, after).await?;
        let typed = |change: Change| {
            let id = [PENDING_PREFIX, ATTACHED_PREFIX].iter().find_map(|prefix| change.key.strip_prefix(prefix));
            LedgerChange { id: id.and_then(|id| id.parse().ok()), position: Position::after_change(&change) }
        };
        Ok(Box::pin(changes.map(move |change| change.map(typed))))
    }

    /// Returns the next work on an infrastructure.
    pub(crate) async fn next(&self, id: &str) -> Result<NextWork, StoreError> {
        if let Some(entry) = self.store.get(&format!("{PENDING_PREFIX}{id}")).await? {
            let PendingOperation { operation, work, .. } = decode_record(&entry)?;
            return Ok(NextWork::Operation(Box::new(operation), Box::new(work)));
        }
        Ok(if self.is_attached(id).await? { NextWork::Maintain } else { NextWork::Idle })
    }

    /// Returns the work of the pending operation, if there is one.
    pub(crate) async fn pending_work(&self, id: &str) -> Result<Option<Work>, StoreError> {
        let entry = self.store.get(&format!("{PENDING_PREFIX}{id}")).await?;
        entry.map(|entry| Ok(decode_record::<PendingOperation>(&entry)?.work)).transpose()
    }

    /// Returns the pending operation, if there is one.
    pub(crate) async fn pending_operation(&self, id: &str) -> Result<Option<Operation>, StoreError> {
        let entry = self.store.get(&format!("{PENDING_PREFIX}{id}")).await?;
        entry.map(|entry| Ok(decode_record::<PendingOperation>(&entry)?.operation)).transpose()
    }

    /// Stores the progress of an operation. Returns false if it is no longer the pending one.
    pub(crate) async fn update(&self, operation: &Operation) -> Result<bool, StoreError> {
        self.rewrite(operation, |key, pending| {
            Ok(vec![put_record(key, &PendingOperation { operation: operation.clone(), ..pending })?])
        })
        .await
    }

    /// Returns the claim of the service that has begun an operation and not ended it. That service may have died.
    pub(crate) async fn find_claim(&self, operation: &Operation) -> Result<Option<Claim>, StoreError> {
        let Some(entry) = self.store.get(&format!("{PENDING_PREFIX}{}", operation.infraid)).await? else {
            return Ok(None);
        };
        let pending: PendingOperation = decode_record(&entry)?;
        Ok(pending.begun.filter(|_| pending.operation.id == operation.id))
    }

    /// Stores the claim of a service that begins an operation, and the operation's progress. Returns false if it is no
    /// longer the pending one.
    pub(crate) async fn claim(&self, operation: &Operation, begun: &Claim) -> Result<bool, StoreError> {
        self.rewrite(operation, |key, pending| {
            let begun = Some(begun.clone());
            Ok(vec![put_record(key, &PendingOperation { operation: operation.clone(), work: pending.work, begun })?])
        })
        .await
    }

    /// Removes the claim of a service on an operation, so that the service's death is not counted against it.
    pub(crate) async fn release_claim(&self, operation: &Operation, holder: &str) -> Result<(), StoreError> {
        let is_ours = |begun: &Claim| begun.holder == holder;
        if !self.find_claim(operation).await?.as_ref().is_some_and(is_ours) {
            return Ok(());
        }
        let writes = |key, pending: PendingOperation| {
            let begun = pending.begun.filter(|begun| !is_ours(begun));
            Ok(vec![put_record(key, &PendingOperation { operation: pending.operation, work: pending.work, begun })?])
        };
        self.rewrite(operation, writes).await.map(drop)
    }

    /// Stores the end of the pending operation; that of a superseded one is stored already, and stays. With `forget`,
    /// also detaches the infrastructure. `failed` is kept for inspection.
    pub(crate) async fn end(
        &self,
        ended: &Operation,
        forget: bool,
        failed: Option<&FailedBuild>,
    ) -> Result<(), StoreError> {
        let id = &ended.infraid;
        let writes = |key, _| {
            let mut writes = vec![Write::Delete { key }, done_write(ended)?];
            if forget {
                writes.push(Write::Delete { key: format!("{ATTACHED_PREFIX}{id}") });
            }
            if let Some(failed) = failed {
                writes.push(put_record(format!("{FAILED_PREFIX}{id}"), failed)?);
            }
            Ok(writes)
        };
        self.rewrite(ended, writes).await?;
        if failed.is_some() {
            super::cleanup::clean_up_failed_builds(&*self.store).await?;
        }
        self.prune(id).await
    }

    /// Makes writes while an operation is the pending one; returns false if it is not. Retries when another writer was
    /// faster.
    async fn rewrite(
        &self,
        operation: &Operation,
        writes: impl Fn(String, PendingOperation) -> Result<Vec<Write>, StoreError>,
    ) -> Result<bool, StoreError> {
        let key = format!("{PENDING_PREFIX}{}", operation.infraid);
        loop {
            let Some(entry) = self.store.get(&key).await? else { return Ok(false) };
            let pending: PendingOperation = decode_record(&entry)?;
            if pending.operation.id != operation.id {
                return Ok(false);
            }
            let compares = vec![Compare::Modified(key.clone(), entry.modified)];
            let transaction = Transaction { compares, writes: writes(key.clone(), pending)? };
            if let CommitOutcome::Committed(_) = self.store.commit(transaction).await? {
                return Ok(true);
            }
        }
    }

    /// Returns whether an infrastructure is to be maintained.
    pub(crate) async fn is_attached(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.store.get(&format!("{ATTACHED_PREFIX}{id}")).await?.is_some())
    }

    /// Attaches an infrastructure: it is to be maintained. Returns false if it is being removed.
    pub(crate) async fn attach(&self, id: &str) -> Result<bool, StoreError> {
        loop {
            let key = format!("{PENDING_PREFIX}{id}");
            let entry = self.store.get(&key).await?;
            let before = entry.as_ref().map(decode_record::<PendingOperation>).transpose()?;
            if before.is_some_and(|before| before.operation.kind == OperationKind::Destroy) {
                return Ok(false);
            }
            let compares = vec![Compare::Modified(key, revision(entry.as_ref()))];
            if let CommitOutcome::Committed(_) =
                self.store.commit(Transaction { compares, writes: vec![attach_write(id)] }).await?
            {
                return Ok(true);
            }
        }
    }

    /// Detaches an infrastructure: it is no longer to be maintained.
    pub(crate) async fn detach(&self, id: &str) -> Result<(), StoreError> {
        let writes = vec![Write::Delete { key: format!("{ATTACHED_PREFIX}{id}") }];
        self.store.commit(Transaction { compares: Vec::new(), writes }).await.map(drop)
    }

    /// Returns the ids of the infrastructures that are to be maintained.
    pub(crate) async fn attached(&self) -> Result<Vec<InfrastructureId>, StoreError> {
        self.ids(ATTACHED_PREFIX).await
    }

    /// Returns the ids of the infrastructures with a pending operation.
    pub(crate) async fn unfinished(&self) -> Result<Vec<InfrastructureId>, StoreError> {
        self.ids(PENDING_PREFIX).await
    }

    /// Returns an operation, pending or ended.
    pub(crate) async fn operation(&self, id: &str, operation: &str) -> Result<Option<Operation>, StoreError> {
        if let Some(pending) = self.pending_operation(id).await?.filter(|pending| pending.id == operation) {
            return Ok(Some(pending));
        }
        let entry = self.store.get(&format!("{DONE_PREFIX}{id}/{operation}")).await?;
        entry.as_ref().map(decode_record).transpose()
    }

    /// Returns the operations of an infrastructure, the newest first.
    pub(crate) async fn operations(&self, id: &str) -> Result<Vec<Operation>, StoreError> {
        let ended = Pages::collect(&*self.store, &format!("{DONE_PREFIX}{id}/")).await?;
        let mut operations: Vec<Operation> = ended.iter().map(decode_record).collect::<Result<_, _>>()?;
        operations.extend(self.pending_operation(id).await?);
        operations.sort_by(|one, other| other.id.cmp(&one.id));
        Ok(operations)
    }

    /// Returns the last build of an infrastructure, if it has failed.
    pub(crate) async fn failed_build(&self, id: &str) -> Result<Option<FailedBuild>, StoreError> {
        let entry = self.store.get(&format!("{FAILED_PREFIX}{id}")).await?;
        entry.as_ref().map(decode_record).transpose()
    }

    /// Returns the failed builds whose infrastructures are gone, the latest first, with the ids of these.
    pub(crate) async fn failed_builds(&self) -> Result<Vec<(String, FailedBuild)>, StoreError> {
        let mut failures = Vec::new();
        for entry in Pages::collect(&*self.store, FAILED_PREFIX).await? {
            let id = entry.key.strip_prefix(FAILED_PREFIX).unwrap_or_default().to_owned();
            failures.push((id, decode_record::<FailedBuild>(&entry)?));
        }
        failures.retain(|(_, failed)| !failed.remains);
        failures.sort_by_key(|(_, failed)| std::cmp::Reverse(failed.time));
        Ok(failures)
    }

    /// Removes the oldest operations of an infrastructure, beyond [`MAX_ENDED_OPERATIONS`].
    async fn prune(&self, id: &str) -> Result<(), StoreError> {
        let ended = Pages::collect(&*self.store, &format!("{DONE_PREFIX}{id}/")).await?;
        let oldest = ended.iter().rev().skip(MAX_ENDED_OPERATIONS);
        let writes: Vec<_> = oldest.map(|entry| Write::Delete { key: entry.key.clone() }).collect();
        if writes.is_empty() {
            return Ok(());
        }
        self.store.commit(Transaction { compares: Vec::new(), writes }).await.map(drop)
    }

    async fn ids(&self, prefix: &str) -> Result<Vec<InfrastructureId>, StoreError> {
        let entries = Pages::collect(&*self.store, prefix).await?;
        Ok(entries.iter().filter_map(|entry| entry.key.strip_prefix(prefix)?.parse().ok()).collect())
    }
}

/// Decodes a record of an operation or a failed build.
///
/// # Errors
/// Fails if the entry is no such record, or one of a newer version.
pub(super) fn decode_record<T: DeserializeOwned>(entry: &Entry) -> Result<T, StoreError> {
    Ok(FORMAT.decode_entry(entry)?)
}

/// Creates the write of a record of an operation or a failed build.
///
/// # Errors
/// Fails if the record can't be written as JSON.
pub(super) fn put_record(key: String, record: &impl Serialize) -> Result<Write, StoreError> {
    Ok(FORMAT.put(key, record)?)
}

fn revision(entry: Option<&Entry>) -> Revision {
    entry.map_or(0, |entry| entry.modified)
}

fn attach_write(id: &str) -> Write {
    Write::Put { key: format!("{ATTACHED_PREFIX}{id}"), value: b"{}".to_vec(), lease: None }
}

fn done_write(operation: &Operation) -> Result<Write, StoreError> {
    put_record(format!("{DONE_PREFIX}{}/{}", operation.infraid, operation.id), operation)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use occopus_engine::ports::SystemClock;
    use occopus_engine::testing::{MemoryStore, id};

    use super::*;

    struct Always;

    #[async_trait]
    impl SubmitCheck for Always {
        async fn check(&self, _: Option<&Work>) -> Result<Vec<Compare>, ApiError> {
            Ok(Vec::new())
        }
    }

    async fn changes_after(ledger: &Ledger, position: Position) -> Vec<(Option<InfrastructureId>, Position)> {
        let mut stream = ledger.watch(position).await.unwrap();
        let mut changes = Vec::new();
        // With time paused, this timeout ends when nothing else is left to do.
        while let Ok(change) = tokio::time::timeout(Duration::from_millis(1), stream.next()).await {
            let LedgerChange { id, position } = change.unwrap().unwrap();
            changes.push((id, position));
        }
        changes
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_the_ledger_are_watched_from_any_position() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let ledger = Ledger::new(Arc::new(store.clone()));
        ledger.attach("a").await.unwrap();
        assert!(ledger.submit(&id("b"), &Work::Destroy, "somebody", &Always).await.is_ok());
        let other = Write::Put { key: format!("{FAILED_PREFIX}c"), value: Vec::new(), lease: None };
        store.commit(Transaction { compares: Vec::new(), writes: vec![other] }).await.unwrap();
        ledger.attach("d").await.unwrap();
        ledger.detach("a").await.unwrap();
        let mut operation = ledger.pending_operation("b").await.unwrap().unwrap();
        operation.set_state(OperationState::Superseded);
        ledger.end(&operation, true, None).await.unwrap();
        let all = changes_after(&ledger, Position::after(0)).await;
        let ids: Vec<_> = all.iter().filter_map(|(id, _)| id.as_deref()).collect();
        assert_eq!(ids, ["d", "a", "b"], "the last of each key");
        assert!(all.len() > ids.len(), "other changes move the position on");
        for (index, (_, position)) in all.iter().enumerate() {
            assert_eq!(changes_after(&ledger, position.clone()).await, all[index + 1..]);
        }
    }
}
