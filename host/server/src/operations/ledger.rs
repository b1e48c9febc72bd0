//! Where operations are kept: in the store, beside the infrastructures.
//!
//! `service/pending/ID` is the one operation of an infrastructure that has not ended, `service/done/ID/OPERATION` are some
//! that have, and `service/attached/ID` says that it is to be maintained. Whatever changes compares revisions, so several
//! services may work on one store.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use occopus_engine::ports::{Committed, Compare, Entry, Revision, Store, StoreError, Transaction, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::{Pending, Repeatable};
use super::{Operation, Progress, Work};

pub(crate) const PENDING: &str = "service/pending/";
pub(crate) const ATTACHED: &str = "service/attached/";
const DONE: &str = "service/done/";
const REPEATABLE: &str = "service/repeatable/";
/// Operations that have ended are kept for each infrastructure.
const KEPT: usize = 20;
/// For so long a request may be repeated with its key.
const REPEATABLE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Entries of a page.
const PAGE: usize = 500;
/// Version of the records.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    record: T,
}

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
    /// It will be done.
    Accepted(Box<Operation>),
    /// This key came with the same request before: the infrastructure and the operation of then.
    Repeated { infraid: String, operation: String },
    /// This key came with another request before.
    OtherRequest,
}

/// By which a repeated request is known.
pub(crate) struct RequestKey {
    /// Whose it is, and what they called it; hashed.
    pub(crate) key: String,
    /// Of what was posted.
    pub(crate) digest: String,
}

impl Ledger {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Promises something. What was promised for the infrastructure before, and has not ended, is given up for it.
    pub(crate) async fn submit(
        &self,
        id: &str,
        work: &Work,
        by: &str,
        request: Option<&RequestKey>,
    ) -> Result<Submitted, StoreError> {
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
            let (mut compares, mut writes) = (Vec::new(), Vec::new());
            if let Some(RequestKey { key, digest }) = request {
                let key = format!("{REPEATABLE}{key}");
                let entry = self.store.get(&key).await?;
                let known = entry.as_ref().map(decode::<Repeatable>).transpose()?;
                if let Some(known) = known.filter(|known| is_fresh(known.time, now)) {
                    return Ok(if known.digest == *digest {
                        Submitted::Repeated { infraid: known.infraid, operation: known.operation }
                    } else {
                        Submitted::OtherRequest
                    });
                }
                compares.push(Compare::Modified(key.clone(), revision(entry.as_ref())));
                let (infraid, operation) = (id.to_owned(), operation.id.clone());
                writes.push(put(key, &Repeatable { digest: digest.clone(), infraid, operation, time: now }));
            }
            let key = format!("{PENDING}{id}");
            let before = self.store.get(&key).await?;
            compares.push(Compare::Modified(key.clone(), revision(before.as_ref())));
            if let Some(before) = &before {
                let before = decode::<Pending>(before)?.operation;
                writes.push(done(&Operation {
                    state: Progress::Superseded,
                    ended: Some(now),
                    message: None,
                    ..before
                }));
            }
            writes.push(put(key, &Pending { operation: operation.clone(), work: work.clone() }));
            match work {
                Work::Build { .. } => writes.push(mark(id)),
                Work::Destroy => writes.push(Write::Delete { key: format!("{ATTACHED}{id}") }),
                Work::Maintain => {}
            }
            if let Committed::Yes(_) = self.store.commit(Transaction { compares, writes }).await? {
                return Ok(Submitted::Accepted(Box::new(operation)));
            }
        }
    }

    /// What is to be done with an infrastructure now.
    pub(crate) async fn next(&self, id: &str) -> Result<Next, StoreError> {
        if let Some(entry) = self.store.get(&format!("{PENDING}{id}")).await? {
            let Pending { operation, work } = decode(&entry)?;
            return Ok(Next::Operation(Box::new(operation), Box::new(work)));
        }
        Ok(if self.is_attached(id).await? { Next::Maintain } else { Next::Nothing })
    }

    /// The operation that has not ended, if there is one.
    pub(crate) async fn pending(&self, id: &str) -> Result<Option<Operation>, StoreError> {
        let entry = self.store.get(&format!("{PENDING}{id}")).await?;
        entry.map(|entry| Ok(decode::<Pending>(&entry)?.operation)).transpose()
    }

    /// Says how far an operation has come. False when another one has taken its place.
    pub(crate) async fn tell(&self, operation: &Operation) -> Result<bool, StoreError> {
        self.rewrite(operation, |key, pending| {
            vec![put(key, &Pending { operation: operation.clone(), work: pending.work })]
        })
        .await
    }

    /// An operation has ended. When another one has taken its place, that was written down already. With `forget`, the
    /// infrastructure is not to be maintained either.
    pub(crate) async fn end(&self, ended: &Operation, forget: bool) -> Result<(), StoreError> {
        let id = &ended.infraid;
        let writes = |key, _| {
            let mut writes = vec![Write::Delete { key }, done(ended)];
            if forget {
                writes.push(Write::Delete { key: format!("{ATTACHED}{id}") });
            }
            writes
        };
        self.rewrite(ended, writes).await?;
        self.prune(id).await
    }

    /// Writes in place of the record of an operation, as long as there is one. Others may write to it at the same time.
    async fn rewrite(
        &self,
        operation: &Operation,
        writes: impl Fn(String, Pending) -> Vec<Write>,
    ) -> Result<bool, StoreError> {
        let key = format!("{PENDING}{}", operation.infraid);
        loop {
            let Some(entry) = self.store.get(&key).await? else { return Ok(false) };
            let pending: Pending = decode(&entry)?;
            if pending.operation.id != operation.id {
                return Ok(false);
            }
            let compares = vec![Compare::Modified(key.clone(), entry.modified)];
            let transaction = Transaction { compares, writes: writes(key.clone(), pending) };
            if let Committed::Yes(_) = self.store.commit(transaction).await? {
                return Ok(true);
            }
        }
    }

    /// Whether it is to be maintained.
    pub(crate) async fn is_attached(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.store.get(&format!("{ATTACHED}{id}")).await?.is_some())
    }

    /// Says whether it is to be maintained.
    pub(crate) async fn attach(&self, id: &str, attached: bool) -> Result<(), StoreError> {
        let write = if attached { mark(id) } else { Write::Delete { key: format!("{ATTACHED}{id}") } };
        self.store.commit(Transaction { compares: Vec::new(), writes: vec![write] }).await.map(drop)
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

    /// Forgets the oldest operations of an infrastructure, and keys of requests that are too old to be repeated.
    async fn prune(&self, id: &str) -> Result<(), StoreError> {
        let ended = self.store.range(&format!("{DONE}{id}/"), None, PAGE).await?;
        let mut writes: Vec<_> =
            ended.iter().rev().skip(KEPT).map(|entry| Write::Delete { key: entry.key.clone() }).collect();
        let now = Timestamp::now();
        for entry in self.store.range(REPEATABLE, None, PAGE).await? {
            if decode::<Repeatable>(&entry).is_ok_and(|known| !is_fresh(known.time, now)) {
                writes.push(Write::Delete { key: entry.key });
            }
        }
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

fn is_fresh(time: Timestamp, now: Timestamp) -> bool {
    now.duration_since(time).unsigned_abs() < REPEATABLE_FOR
}

fn revision(entry: Option<&Entry>) -> Revision {
    entry.map_or(0, |entry| entry.modified)
}

fn mark(id: &str) -> Write {
    Write::Put { key: format!("{ATTACHED}{id}"), value: b"{}".to_vec(), lease: None }
}

fn done(operation: &Operation) -> Write {
    put(format!("{DONE}{}/{}", operation.infraid, operation.id), operation)
}

fn put(key: String, record: &impl Serialize) -> Write {
    // Only maps with keys that are no text can't be written, and no record has one.
    let value = serde_json::to_vec(&Versioned { v: VERSION, record }).unwrap_or_default();
    Write::Put { key, value, lease: None }
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, StoreError> {
    let unusable = |why: String| StoreError::Unusable { message: format!("the store's entry {}: {why}", entry.key) };
    let value: Versioned<serde_json::Value> =
        serde_json::from_slice(&entry.value).map_err(|error| unusable(error.to_string()))?;
    if value.v > VERSION {
        return Err(unusable(format!("it has version {}, this program knows {VERSION}: use a newer program", value.v)));
    }
    serde_json::from_value(value.record).map_err(|error| unusable(error.to_string()))
}
