//! A store in memory, with all guarantees of [`Store`] but durability.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ports::{
    Change, Changes, Clock, CommitOutcome, Compare, Entry, LeaseId, Revision, Store, StoreError, Transaction, Write,
};

/// Moment at which the process that uses the store dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Just before the transaction with this number (from 1) is written.
    Before(u64),
    /// Just after the transaction with this number (from 1) is written.
    After(u64),
}

/// A store in memory. Clones are the same store.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    /// Newest revision, for watchers.
    written: watch::Sender<Revision>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// Revisions that removed keys, for watchers.
    removed: BTreeMap<String, Revision>,
    revision: Revision,
    leases: HashMap<LeaseId, Lease>,
    next_lease: LeaseId,
    commits: u64,
    crash: Option<Crash>,
    dead: CancellationToken,
    commits_to_fail: u32,
    answers_to_lose: u32,
}

struct Lease {
    renewed: Timestamp,
    ends: Timestamp,
    ttl: Duration,
    keys: Vec<String>,
}

impl MemoryStore {
    /// Creates an empty store, whose leases expire by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), clock, written: watch::Sender::default() }
    }

    /// Returns the number of transactions so far.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// Lets the process die; the number counts from now. The returned token is cancelled at its death: its calls of the
    /// store never return after that, and the test drops it.
    pub fn crash(&self, crash: Crash) -> CancellationToken {
        let mut state = self.lock();
        let commits = state.commits;
        state.crash = Some(match crash {
            Crash::Before(n) => Crash::Before(commits + n),
            Crash::After(n) => Crash::After(commits + n),
        });
        state.dead = CancellationToken::new();
        state.dead.clone()
    }

    /// Lets another process use the store from now on.
    pub fn revive(&self) {
        let mut state = self.lock();
        state.crash = None;
        state.dead = CancellationToken::new();
    }

    /// Fails the next transactions, without an effect.
    pub fn fail_commits(&self, transactions: u32) {
        self.lock().commits_to_fail = transactions;
    }

    /// Writes the next transactions, and loses their answers.
    pub fn lose_commit_answers(&self, transactions: u32) {
        self.lock().answers_to_lose = transactions;
    }

    /// Expires every lease, as a long pause would.
    pub fn end_leases(&self) {
        let mut state = self.lock();
        let leases: Vec<_> = state.leases.keys().copied().collect();
        for lease in leases {
            self.end_lease(&mut state, lease);
        }
    }

    /// Returns all keys, in order, but those of events that are kept after a rollback.
    pub fn live_keys(&self) -> Vec<String> {
        self.keys().into_iter().filter(|key| !key.starts_with("gone/")).collect()
    }

    /// Returns all keys, in order.
    pub fn keys(&self) -> Vec<String> {
        self.lock().entries.keys().cloned().collect()
    }

    /// Returns all values as text, to search for what must not be stored.
    pub fn values_as_text(&self) -> String {
        self.lock().entries.values().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        // As in the real store: a lease does not last longer because the clock was set back.
        for lease in state.leases.values_mut().filter(|lease| lease.renewed > now) {
            (lease.renewed, lease.ends) = (now, now.checked_add(lease.ttl).unwrap_or(Timestamp::MAX));
        }
        let ended: Vec<_> = state.leases.iter().filter(|(_, lease)| lease.ends <= now).map(|(id, _)| *id).collect();
        for lease in ended {
            self.end_lease(&mut state, lease);
        }
        state
    }

    fn end_lease(&self, state: &mut State, lease: LeaseId) {
        let Some(lease) = state.leases.remove(&lease) else { return };
        let writes = lease.keys.into_iter().map(|key| Write::Delete { key }).collect();
        self.apply(state, writes);
    }

    fn apply(&self, state: &mut State, writes: Vec<Write>) -> Revision {
        state.revision += 1;
        let revision = state.revision;
        for write in writes {
            match write {
                Write::Put { key, value, lease } => {
                    let created = state.entries.get(&key).map_or(revision, |entry| entry.created);
                    let entry = Entry { key: key.clone(), value, created, modified: revision };
                    for lease in state.leases.values_mut() {
                        lease.keys.retain(|other| *other != key);
                    }
                    if let Some(lease) = lease.and_then(|lease| state.leases.get_mut(&lease)) {
                        lease.keys.push(key.clone());
                    }
                    state.removed.remove(&key);
                    state.entries.insert(key, entry);
                }
                Write::Delete { key } => {
                    if state.entries.remove(&key).is_some() {
                        state.removed.insert(key, revision);
                    }
                }
                Write::DeletePrefix { prefix } => {
                    let keys: Vec<_> = state.entries.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
                    for key in keys {
                        state.entries.remove(&key);
                        state.removed.insert(key, revision);
                    }
                }
            }
        }
        self.written.send_replace(revision);
        revision
    }

    /// Returns the newest revision, and the changes after `seen` up to it.
    fn changes_since(&self, prefix: &str, seen: Revision) -> (Revision, Vec<Change>) {
        let state = self.lock();
        let written = state.entries.values().filter(|entry| entry.modified > seen).map(|entry| Change {
            revision: entry.modified,
            key: entry.key.clone(),
            entry: Some(entry.clone()),
        });
        let removed = state.removed.iter().filter(|(_, revision)| **revision > seen);
        let removed = removed.map(|(key, revision)| Change { revision: *revision, key: key.clone(), entry: None });
        let mut changes: Vec<_> = written.chain(removed).filter(|change| change.key.starts_with(prefix)).collect();
        changes.sort_by(|one, other| (one.revision, &one.key).cmp(&(other.revision, &other.key)));
        (state.revision, changes)
    }

    /// Returns at once; never if the process is dead.
    async fn hang_if_dead(&self) {
        let dead = self.lock().dead.is_cancelled();
        if dead {
            std::future::pending::<()>().await;
        }
    }

    fn commit_now(&self, transaction: Transaction) -> Option<Result<CommitOutcome, StoreError>> {
        let mut state = self.lock();
        state.commits += 1;
        let number = state.commits;
        if state.crash == Some(Crash::Before(number)) {
            state.dead.cancel();
            return None;
        }
        if state.commits_to_fail > 0 {
            state.commits_to_fail -= 1;
            return Some(Err(StoreError::Unavailable { message: "the disk is full".into() }));
        }
        let holds = transaction.compares.iter().all(|Compare::Modified(key, revision)| {
            state.entries.get(key).map_or(0, |entry| entry.modified) == *revision
        });
        let committed = match holds {
            true => CommitOutcome::Committed(self.apply(&mut state, transaction.writes)),
            false => CommitOutcome::Conflict,
        };
        if state.crash == Some(Crash::After(number)) {
            state.dead.cancel();
            return None;
        }
        if state.answers_to_lose > 0 {
            state.answers_to_lose -= 1;
            return Some(Err(StoreError::Unknown { message: "the connection was lost".into() }));
        }
        Some(Ok(committed))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.hang_if_dead().await;
        Ok(self.lock().entries.get(key).cloned())
    }

    async fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.hang_if_dead().await;
        let state = self.lock();
        let start = after.filter(|after| *after > prefix).unwrap_or(prefix);
        let from = state.entries.range(start.to_owned()..).map(|(_, entry)| entry);
        let inside = from.take_while(|entry| entry.key.starts_with(prefix));
        Ok(inside.filter(|entry| after.is_none_or(|after| entry.key.as_str() > after)).take(limit).cloned().collect())
    }

    async fn commit(&self, transaction: Transaction) -> Result<CommitOutcome, StoreError> {
        self.hang_if_dead().await;
        match self.commit_now(transaction) {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.hang_if_dead().await;
        let renewed = self.clock.now();
        let ends = renewed.checked_add(ttl).unwrap_or(Timestamp::MAX);
        let mut state = self.lock();
        state.next_lease += 1;
        let id = state.next_lease;
        state.leases.insert(id, Lease { renewed, ends, ttl, keys: Vec::new() });
        Ok(id)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError> {
        self.hang_if_dead().await;
        let now = self.clock.now();
        Ok(match self.lock().leases.get_mut(&lease) {
            Some(lease) => {
                lease.renewed = now;
                lease.ends = now.checked_add(lease.ttl).unwrap_or(Timestamp::MAX);
                true
            }
            None => false,
        })
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.hang_if_dead().await;
        let mut state = self.lock();
        self.end_lease(&mut state, lease);
        Ok(())
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Changes, StoreError> {
        self.hang_if_dead().await;
        let watcher = (self.clone(), self.written.subscribe(), prefix.to_owned(), after);
        let batches = futures::stream::unfold(watcher, |(store, mut written, prefix, seen)| async move {
            loop {
                written.mark_unchanged();
                let (newest, changes) = store.changes_since(&prefix, seen);
                if !changes.is_empty() {
                    let changes = futures::stream::iter(changes.into_iter().map(Ok));
                    return Some((changes, (store, written, prefix, newest)));
                }
                written.changed().await.ok()?;
            }
        });
        Ok(Box::pin(batches.flatten()))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.hang_if_dead().await;
        Ok(self.lock().revision)
    }
}
