//! The journal: writes records together with their events. In come requests of all tasks of a run; those that arrive at
//! about the same time share one transaction. Out go events, to subscribers, once they are durable.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::ownership::Ownership;
use crate::error::EngineError;
use crate::event::{Event, EventKind};
use crate::id::InfrastructureId;
use crate::ports::{Clock, CommitOutcome, Compare, Revision, Store, StoreError, Transaction, Write};
use crate::settings::Settings;
use crate::state::{HeadRecord, InstanceRecord, decode, encode, keys};

/// Largest number of requests in one transaction.
const MAX_BATCH_REQUESTS: usize = 500;

/// Returns the number after which the events of a new infrastructure are numbered: microseconds since 1970. An earlier
/// infrastructure with the same id has used smaller numbers, since it had no event for each microsecond, so that a
/// subscriber to its events misses none of the new one.
fn first_event_id(now: Timestamp) -> u64 {
    u64::try_from(now.as_microsecond()).unwrap_or_default()
}

/// The error of a write that did not become durable.
#[derive(Debug, Clone)]
pub(crate) enum JournalError {
    /// Another process owns the infrastructure.
    LeaseLost,
    /// The store failed.
    Store(Arc<StoreError>),
}

impl From<StoreError> for JournalError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl JournalError {
    /// Converts to an error about an infrastructure.
    pub(crate) fn into_error(self, id: &str) -> EngineError {
        match self {
            Self::LeaseLost => EngineError::LeaseLost { id: id.into() },
            Self::Store(error) => {
                let source = match &*error {
                    StoreError::Unavailable { message } => StoreError::Unavailable { message: message.clone() },
                    StoreError::Unusable { message } => StoreError::Unusable { message: message.clone() },
                    StoreError::Unknown { message } => StoreError::Unknown { message: message.clone() },
                };
                EngineError::Store { source }
            }
        }
    }
}

struct WriteRequest {
    writes: Vec<Write>,
    events: Vec<EventKind>,
    /// Set if the request deletes the infrastructure; its own events are then not stored.
    is_last: bool,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// The writer of the state of one infrastructure, in order. It emits events once they are durable.
pub(crate) struct Journal {
    id: InfrastructureId,
    requests: mpsc::UnboundedSender<WriteRequest>,
    events: mpsc::UnboundedSender<Event>,
    clock: Arc<dyn Clock>,
    _writer: AbortOnDropHandle<()>,
}

impl Journal {
    pub(super) async fn open(
        id: &InfrastructureId,
        owner: Arc<Ownership>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: &Settings,
        events: mpsc::UnboundedSender<Event>,
        lease_lost: CancellationToken,
    ) -> Result<Self, EngineError> {
        let entry = store.get(&keys::head(id)).await?;
        let (head, head_revision) = match &entry {
            Some(entry) => (decode(&entry.key, &entry.value)?, entry.modified),
            None => (HeadRecord { event: first_event_id(clock.now()), ..HeadRecord::default() }, 0),
        };
        owner.set_head_revision(head_revision);
        let (requests, receiver) = mpsc::unbounded_channel();
        let writer = Writer {
            id: id.clone(),
            owner,
            head,
            head_revision,
            store,
            clock: clock.clone(),
            retry_for: settings.store_patience,
            events: events.clone(),
            lease_lost,
        };
        let writer = AbortOnDropHandle::new(tokio::spawn(writer.run(receiver)));
        Ok(Self { id: id.clone(), requests, events, clock, _writer: writer })
    }

    /// Writes changes and events in one transaction; returns once they are durable.
    pub(crate) async fn write(&self, writes: Vec<Write>, events: Vec<EventKind>) -> Result<(), JournalError> {
        self.request(writes, events, false).await
    }

    /// Deletes all records and events of the infrastructure. `beside` is written in the same transaction. No write may
    /// follow.
    pub(crate) async fn delete_infrastructure(&self, beside: Vec<Write>) -> Result<(), JournalError> {
        let mut writes = vec![
            Write::Delete { key: keys::infrastructure(&self.id) },
            Write::DeletePrefix { prefix: keys::all(&self.id) },
        ];
        writes.extend(beside);
        self.request(writes, vec![EventKind::InfraDrop], true).await
    }

    async fn request(&self, writes: Vec<Write>, events: Vec<EventKind>, is_last: bool) -> Result<(), JournalError> {
        let (done, answer) = oneshot::channel();
        // The writer lives as long as this journal; if it has ended after all, nothing was written for this request.
        self.requests.send(WriteRequest { writes, events, is_last, done }).map_err(|_| JournalError::LeaseLost)?;
        answer.await.unwrap_or(Err(JournalError::LeaseLost))
    }

    /// Writes an instance's record with its events.
    pub(crate) async fn put_instance(
        &self,
        record: &InstanceRecord,
        events: Vec<EventKind>,
    ) -> Result<(), JournalError> {
        let key = keys::instance(&self.id, &record.id);
        let put = Write::Put { key, value: encode(record)?, lease: None };
        self.write(vec![put], events).await
    }

    /// Deletes the record of an instance whose machine is gone.
    pub(crate) async fn delete_instance(&self, instance: &str, event: EventKind) -> Result<(), JournalError> {
        self.write(vec![Write::Delete { key: keys::instance(&self.id, instance) }], vec![event]).await
    }

    /// Emits an event that is not stored.
    pub(crate) fn emit(&self, kind: EventKind) {
        let event = Event { id: None, time: self.clock.now(), infra_id: self.id.to_string(), kind };
        // The subscriber may have gone.
        let _ = self.events.send(event);
    }
}

struct Writer {
    id: InfrastructureId,
    owner: Arc<Ownership>,
    head: HeadRecord,
    head_revision: Revision,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    retry_for: Duration,
    events: mpsc::UnboundedSender<Event>,
    lease_lost: CancellationToken,
}

impl Writer {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<WriteRequest>) {
        let mut batch = Vec::with_capacity(MAX_BATCH_REQUESTS);
        while requests.recv_many(&mut batch, MAX_BATCH_REQUESTS).await > 0 {
            let outcome = self.commit(&mut batch).await;
            if let Err(JournalError::LeaseLost) = outcome {
                self.lease_lost.cancel();
            }
            for request in batch.drain(..) {
                // The caller may have been cancelled.
                let _ = request.done.send(outcome.clone());
            }
        }
    }

    async fn commit(&mut self, batch: &mut [WriteRequest]) -> Result<(), JournalError> {
        let mut head = HeadRecord { transaction: self.head.transaction + 1, ..self.head };
        let mut writes = Vec::new();
        let mut events = Vec::new();
        let is_last = batch.iter().any(|request| request.is_last);
        let time = self.clock.now();
        for request in batch {
            writes.append(&mut request.writes);
            for kind in request.events.drain(..) {
                if is_last {
                    events.push(Event { id: None, time, infra_id: self.id.to_string(), kind });
                    continue;
                }
                head.event += 1;
                let event = Event { id: Some(head.event), time, infra_id: self.id.to_string(), kind };
                let key = keys::event(&self.id, head.event);
                writes.push(Write::Put { key, value: encode(&event)?, lease: None });
                events.push(event);
            }
        }
        // A transaction that arrives late conflicts, since the head has moved on.
        let compares = self.compares();
        if is_last {
            self.persist(Transaction { compares, writes }, None).await?;
        } else {
            writes.push(Write::Put { key: keys::head(&self.id), value: encode(head)?, lease: None });
            self.head_revision = self.persist(Transaction { compares, writes }, Some(head)).await?;
            self.owner.set_head_revision(self.head_revision);
            self.head = head;
        }
        for event in events {
            if tracing::enabled!(target: "occopus::metrics", tracing::Level::DEBUG) {
                let name = event.kind.name();
                tracing::debug!(target: "occopus::metrics", event = name, monotonic_counter.occopus_events = 1_u64);
            }
            // The subscriber may have gone.
            let _ = self.events.send(event);
        }
        Ok(())
    }

    fn compares(&self) -> Vec<Compare> {
        vec![
            Compare::Modified(keys::owner(&self.id), self.owner.fencing_token()),
            Compare::Modified(keys::head(&self.id), self.head_revision),
        ]
    }

    /// Commits a transaction, and repeats it for `retry_for` while the store fails. A commit whose answer was lost is
    /// recognised by the head that it leaves.
    async fn persist(&self, mut transaction: Transaction, head: Option<HeadRecord>) -> Result<Revision, JournalError> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(20);
        let mut in_doubt = false;
        loop {
            let error = match self.store.commit(transaction.clone()).await {
                Ok(CommitOutcome::Committed(revision)) => return Ok(revision),
                Ok(CommitOutcome::Conflict) => match self.resolve_conflict(head, in_doubt).await {
                    Ok(Some(revision)) => return Ok(revision),
                    Ok(None) if transaction.compares == self.compares() => return Err(JournalError::LeaseLost),
                    // The lease had expired and was reclaimed.
                    Ok(None) => {
                        transaction.compares = self.compares();
                        continue;
                    }
                    Err(error) => error,
                },
                Err(error @ StoreError::Unusable { .. }) => return Err(JournalError::Store(Arc::new(error))),
                Err(error) => {
                    in_doubt |= matches!(error, StoreError::Unknown { .. });
                    error
                }
            };
            if waited >= self.retry_for {
                return Err(JournalError::Store(Arc::new(error)));
            }
            self.clock.sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Returns the revision of a transaction that conflicts because it had arrived before. Otherwise the lease may have
    /// expired, and is reclaimed if possible: the fencing token to compare is then another one.
    async fn resolve_conflict(&self, head: Option<HeadRecord>, in_doubt: bool) -> Result<Option<Revision>, StoreError> {
        if in_doubt && let Some(revision) = self.arrived_revision(head).await? {
            return Ok(Some(revision));
        }
        self.owner.reclaim().await.map(|_| None)
    }

    /// Returns the revision of the stored head, if it is this one.
    async fn arrived_revision(&self, head: Option<HeadRecord>) -> Result<Option<Revision>, StoreError> {
        let key = keys::head(&self.id);
        Ok(match (self.store.get(&key).await?, head) {
            (None, None) => Some(0),
            (Some(entry), Some(head)) => {
                decode::<HeadRecord>(&key, &entry.value).ok().filter(|found| *found == head).map(|_| entry.modified)
            }
            _ => None,
        })
    }
}
