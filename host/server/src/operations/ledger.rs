//! Where operations are kept: in the store, beside the infrastructures.
//!
//! `service/pending/ID` is the one operation of an infrastructure that has not ended, `service/done/ID/OPERATION` are some
//! that have, `service/failed/ID` is its last build, if that has failed, and `service/attached/ID` says that it is to
//! be maintained. Whatever changes compares revisions, so several
//! services may work on one store.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use occopus_engine::ports::{Committed, Compare, Entry, Revision, Store, StoreError, Transaction, Write};
use uuid::Uuid;

use super::record::Pending;
use super::{Begun, FailedBuild, Kind, Operation, Progress, Work};
use crate::once;
use crate::problem::Problem;
use crate::stored::{decode, put};

pub(crate) const PENDING: &str = "service/pending/";
pub(crate) const ATTACHED: &str = "service/attached/";
pub(super) const DONE: &str = "service/done/";
/// The start of the records of builds that have failed, by the ids of their infrastructures.
pub(super) const FAILED: &str = "service/failed/";
/// Operations that have ended are kept for each infrastructure.
const KEPT: usize = 20;
/// Entries of a page.
pub(super) const PAGE: usize = 500;

/// Operations and what is to be maintained. Clones are the same.
#[derive(Clone)]
pub(crate) struct Ledger {
    store: Arc<dyn Store>,
}

/// What is to be done with an infrastructure now.
pub(crate) enum Next {
    /// This.
    Operation(Box<Operation>, Box<Work>),
    /// It is to be kept alive.
    Maintain,
    /// Nothing.
    Nothing,
}

/// What became of a request.
pub(crate) enum Submitted {
    /// It will be done, or something under way does it.
    Accepted(Box<Operation>),
    /// The infrastructure is about to be removed.
    Destroying,
}

/// Whether something may be promised, given the work that has not ended.
#[async_trait]
pub(crate) trait Fits: Send + Sync {
    /// What must not change until it is promised, or why it is not.
    async fn to(&self, pending: Option<&Work>) -> Result<Vec<Compare>, Problem>;
}

impl Ledger {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Promises something, if it fits to what was promised before and has not ended: a removal stays promised whatever else is
    /// asked for, a look at all nodes takes the place of nothing, and everything else is given up for what is new. `fits` says
    /// whether the work that has not ended, if there is some, leaves room for this, and what must stay as it is meanwhile; all of
    /// it is decided in the transaction that promises.
    pub(crate) async fn submit(&self, id: &str, work: &Work, by: &str, fits: &dyn Fits) -> Result<Submitted, Problem> {
        let now = Timestamp::now();
        let operation = Operation {
            id: Uuid::now_v7().to_string(),
            infraid: id.to_owned(),
            kind: work.kind(),
            state: Progress::Pending,
            by: by.to_owned(),
            requested: now,
            ended: None,
            message: None,
            error: None,
        };
        loop {
            let key = format!("{PENDING}{id}");
            let entry = self.store.get(&key).await?;
            let before = entry.as_ref().map(decode::<Pending>).transpose()?;
            match (before.as_ref().map(|before| before.operation.kind), work.kind()) {
                (Some(Kind::Destroy), Kind::Destroy) | (Some(Kind::Build | Kind::Maintain), Kind::Maintain) => {
                    if let Some(before) = before {
                        once::promises(id, &before.operation.id);
                        return Ok(Submitted::Accepted(Box::new(before.operation)));
                    }
                }
                (Some(Kind::Destroy), _) => return Ok(Submitted::Destroying),
                _ => {}
            }
            let mut compares = fits.to(before.as_ref().map(|before| &before.work)).await?;
            compares.push(Compare::Modified(key.clone(), revision(entry.as_ref())));
            let mut writes = Vec::new();
            if let Some(Pending { operation: before, .. }) = before {
                writes.push(done(&Operation {
                    state: Progress::Superseded,
                    ended: Some(now),
                    message: None,
                    ..before
                })?);
            }
            writes.push(put(key, &Pending { operation: operation.clone(), work: work.clone(), begun: None })?);
            match work {
                Work::Build { .. } => writes.extend([mark(id), Write::Delete { key: format!("{FAILED}{id}") }]),
                Work::Destroy => writes.push(Write::Delete { key: format!("{ATTACHED}{id}") }),
                Work::Maintain => {}
            }
            once::promises(id, &operation.id);
            if let Committed::Yes(_) = self.store.commit(Transaction { compares, writes }).await? {
                return Ok(Submitted::Accepted(Box::new(operation)));
            }
        }
    }

    /// What is to be done with an infrastructure now.
    pub(crate) async fn next(&self, id: &str) -> Result<Next, StoreError> {
        if let Some(entry) = self.store.get(&format!("{PENDING}{id}")).await? {
            let Pending { operation, work, .. } = decode(&entry)?;
            return Ok(Next::Operation(Box::new(operation), Box::new(work)));
        }
        Ok(if self.is_attached(id).await? { Next::Maintain } else { Next::Nothing })
    }

    /// The work that has not ended, if there is some.
    pub(crate) async fn work(&self, id: &str) -> Result<Option<Work>, StoreError> {
        let entry = self.store.get(&format!("{PENDING}{id}")).await?;
        entry.map(|entry| Ok(decode::<Pending>(&entry)?.work)).transpose()
    }

    /// The operation that has not ended, if there is one.
    pub(crate) async fn pending(&self, id: &str) -> Result<Option<Operation>, StoreError> {
        let entry = self.store.get(&format!("{PENDING}{id}")).await?;
        entry.map(|entry| Ok(decode::<Pending>(&entry)?.operation)).transpose()
    }

    /// Says how far an operation has come. False when another one has taken its place.
    pub(crate) async fn tell(&self, operation: &Operation) -> Result<bool, StoreError> {
        self.rewrite(operation, |key, pending| {
            Ok(vec![put(key, &Pending { operation: operation.clone(), ..pending })?])
        })
        .await
    }

    /// The service that has begun an operation and has not come to an end with it, which may have died.
    pub(crate) async fn begun(&self, operation: &Operation) -> Result<Option<Begun>, StoreError> {
        let Some(entry) = self.store.get(&format!("{PENDING}{}", operation.infraid)).await? else { return Ok(None) };
        let pending: Pending = decode(&entry)?;
        Ok(pending.begun.filter(|_| pending.operation.id == operation.id))
    }

    /// Says that a service begins with an operation, and how far it has come. False when another one has taken its place.
    pub(crate) async fn begin(&self, operation: &Operation, begun: &Begun) -> Result<bool, StoreError> {
        self.rewrite(operation, |key, pending| {
            let begun = Some(begun.clone());
            Ok(vec![put(key, &Pending { operation: operation.clone(), work: pending.work, begun })?])
        })
        .await
    }

    /// Says that it is not for this operation if the service dies that has begun with it.
    pub(crate) async fn let_go(&self, operation: &Operation, holder: &str) -> Result<(), StoreError> {
        let is_ours = |begun: &Begun| begun.holder == holder;
        if !self.begun(operation).await?.as_ref().is_some_and(is_ours) {
            return Ok(());
        }
        let writes = |key, pending: Pending| {
            let begun = pending.begun.filter(|begun| !is_ours(begun));
            Ok(vec![put(key, &Pending { operation: pending.operation, work: pending.work, begun })?])
        };
        self.rewrite(operation, writes).await.map(drop)
    }

    /// An operation has ended. When another one has taken its place, that was written down already. With `forget`, the
    /// infrastructure is not to be maintained either. A build that has failed is kept to be looked at.
    pub(crate) async fn end(
        &self,
        ended: &Operation,
        forget: bool,
        failed: Option<&FailedBuild>,
    ) -> Result<(), StoreError> {
        let id = &ended.infraid;
        let writes = |key, _| {
            let mut writes = vec![Write::Delete { key }, done(ended)?];
            if forget {
                writes.push(Write::Delete { key: format!("{ATTACHED}{id}") });
            }
            if let Some(failed) = failed {
                writes.push(put(format!("{FAILED}{id}"), failed)?);
            }
            Ok(writes)
        };
        self.rewrite(ended, writes).await?;
        if failed.is_some() {
            super::clearing::failures(&*self.store).await?;
        }
        self.prune(id).await
    }

    /// Writes in place of the record of an operation, as long as there is one. Others may write to it at the same time.
    async fn rewrite(
        &self,
        operation: &Operation,
        writes: impl Fn(String, Pending) -> Result<Vec<Write>, StoreError>,
    ) -> Result<bool, StoreError> {
        let key = format!("{PENDING}{}", operation.infraid);
        loop {
            let Some(entry) = self.store.get(&key).await? else { return Ok(false) };
            let pending: Pending = decode(&entry)?;
            if pending.operation.id != operation.id {
                return Ok(false);
            }
            let compares = vec![Compare::Modified(key.clone(), entry.modified)];
            let transaction = Transaction { compares, writes: writes(key.clone(), pending)? };
            if let Committed::Yes(_) = self.store.commit(transaction).await? {
                return Ok(true);
            }
        }
    }

    /// Whether it is to be maintained.
    pub(crate) async fn is_attached(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.store.get(&format!("{ATTACHED}{id}")).await?.is_some())
    }

    /// Says that it is to be maintained. False when it is about to be removed.
    pub(crate) async fn attach(&self, id: &str) -> Result<bool, StoreError> {
        loop {
            let key = format!("{PENDING}{id}");
            let entry = self.store.get(&key).await?;
            let before = entry.as_ref().map(decode::<Pending>).transpose()?;
            if before.is_some_and(|before| before.operation.kind == Kind::Destroy) {
                return Ok(false);
            }
            let compares = vec![Compare::Modified(key, revision(entry.as_ref()))];
            if let Committed::Yes(_) = self.store.commit(Transaction { compares, writes: vec![mark(id)] }).await? {
                return Ok(true);
            }
        }
    }

    /// Says that it is not to be maintained any more.
    pub(crate) async fn detach(&self, id: &str) -> Result<(), StoreError> {
        let writes = vec![Write::Delete { key: format!("{ATTACHED}{id}") }];
        self.store.commit(Transaction { compares: Vec::new(), writes }).await.map(drop)
    }

    /// The infrastructures that are to be maintained.
    pub(crate) async fn attached(&self) -> Result<Vec<String>, StoreError> {
        self.ids(ATTACHED).await
    }

    /// The infrastructures with an operation that has not ended.
    pub(crate) async fn unfinished(&self) -> Result<Vec<String>, StoreError> {
        self.ids(PENDING).await
    }

    /// One operation, whether it has ended or not.
    pub(crate) async fn operation(&self, id: &str, operation: &str) -> Result<Option<Operation>, StoreError> {
        if let Some(pending) = self.pending(id).await?.filter(|pending| pending.id == operation) {
            return Ok(Some(pending));
        }
        let entry = self.store.get(&format!("{DONE}{id}/{operation}")).await?;
        entry.as_ref().map(decode).transpose()
    }

    /// Operations of an infrastructure, the newest first.
    pub(crate) async fn operations(&self, id: &str) -> Result<Vec<Operation>, StoreError> {
        let ended = self.store.range(&format!("{DONE}{id}/"), None, PAGE).await?;
        let mut operations: Vec<Operation> = ended.iter().map(decode).collect::<Result<_, _>>()?;
        operations.extend(self.pending(id).await?);
        operations.sort_by(|one, other| other.id.cmp(&one.id));
        Ok(operations)
    }

    /// The last build of an infrastructure, if it has failed.
    pub(crate) async fn failed(&self, id: &str) -> Result<Option<FailedBuild>, StoreError> {
        let entry = self.store.get(&format!("{FAILED}{id}")).await?;
        entry.as_ref().map(decode).transpose()
    }

    /// All builds that have failed and left nothing, the latest first, with the ids of their infrastructures.
    pub(crate) async fn failures(&self) -> Result<Vec<(String, FailedBuild)>, StoreError> {
        let mut failures = Vec::new();
        for entry in self.store.range(FAILED, None, PAGE).await? {
            let id = entry.key.strip_prefix(FAILED).unwrap_or_default().to_owned();
            failures.push((id, decode::<FailedBuild>(&entry)?));
        }
        failures.retain(|(_, failed)| !failed.remains);
        failures.sort_by_key(|(_, failed)| std::cmp::Reverse(failed.time));
        Ok(failures)
    }

    /// Forgets the oldest operations of an infrastructure.
    async fn prune(&self, id: &str) -> Result<(), StoreError> {
        let ended = self.store.range(&format!("{DONE}{id}/"), None, PAGE).await?;
        let oldest = ended.iter().rev().skip(KEPT);
        let writes: Vec<_> = oldest.map(|entry| Write::Delete { key: entry.key.clone() }).collect();
        if writes.is_empty() {
            return Ok(());
        }
        self.store.commit(Transaction { compares: Vec::new(), writes }).await.map(drop)
    }

    async fn ids(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (mut ids, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.range(prefix, after.as_deref(), PAGE).await?;
            ids.extend(page.iter().filter_map(|entry| entry.key.strip_prefix(prefix)).map(str::to_owned));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(ids),
            }
        }
    }
}

fn revision(entry: Option<&Entry>) -> Revision {
    entry.map_or(0, |entry| entry.modified)
}

fn mark(id: &str) -> Write {
    Write::Put { key: format!("{ATTACHED}{id}"), value: b"{}".to_vec(), lease: None }
}

fn done(operation: &Operation) -> Result<Write, StoreError> {
    put(format!("{DONE}{}/{}", operation.infraid, operation.id), operation)
}
