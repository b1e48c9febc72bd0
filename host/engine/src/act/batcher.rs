//! Observation in batches: whoever asks about the same access to the same cloud shares a call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::endpoints::Endpoints;
use super::limiter::{AdaptiveLimiter, Admission};
use crate::ports::{CallScope, Clock, Driver, Fault, Handle, ObservedMachine, Reaction};
use crate::state::digest;

type Answer = Result<ObservedMachine, Fault>;

/// The driver's keyword and the digest of the `resource` section.
type BatchKey = (String, u64);
type Queues = Mutex<HashMap<BatchKey, Vec<ObserveRequest>>>;

struct ObserveRequest {
    handle: Handle,
    answer: oneshot::Sender<Answer>,
}

/// So many times as long as a call took, questions are collected before the next one.
const COLLECT_CALL_TIMES: u32 = 2;
/// But no longer than this.
const MAX_COLLECT_TIME: Duration = Duration::from_millis(200);

/// Collects questions while a call is on its way, and a while after it.
pub(super) struct ObserveBatcher {
    max_batch: usize,
    clock: Arc<dyn Clock>,
    endpoints: Arc<Endpoints>,
    // Who finds no queue asks for all; who finds one only adds to it.
    queues: Arc<Queues>,
    // Ends the calls on their way when this goes.
    cancel_on_drop: DropGuard,
}

impl ObserveBatcher {
    pub(super) fn new(batch: usize, clock: Arc<dyn Clock>, endpoints: Arc<Endpoints>) -> Self {
        let (queues, ended) = (Arc::default(), CancellationToken::new().drop_guard());
        Self { max_batch: batch.max(1), clock, endpoints, queues, cancel_on_drop: ended }
    }

    /// One machine's state. Equal `resource` sections mean the same access to the same cloud.
    pub(super) async fn observe(&self, driver: &Arc<dyn Driver>, scope: &CallScope, handle: &Handle) -> Answer {
        let kind = scope.section.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
        let key = (kind.to_owned(), digest(scope.section.to_string().as_bytes()));
        let (answer, receive) = oneshot::channel();
        let question = ObserveRequest { handle: handle.clone(), answer };
        let first = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            match queues.get_mut(&key) {
                Some(queue) => {
                    queue.push(question);
                    false
                }
                None => {
                    queues.insert(key.clone(), vec![question]);
                    true
                }
            }
        };
        if first {
            let (queues, batch) = (self.queues.clone(), self.max_batch);
            let (driver, scope, clock) = (driver.clone(), scope.clone(), self.clock.clone());
            let gate = self.endpoints.endpoint_for(&scope.section).limiter.clone();
            let ended = self.cancel_on_drop.token().clone();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = ended.cancelled() => {}
                    () = run_batches(&queues, key, batch, &driver, &scope, &gate, &*clock) => {}
                }
            });
        }
        let given_up =
            || Err(Fault::new(Reaction::Retry, "engine.observe", "the call that would have answered was given up"));
        // The call may have to wait for long, and whoever is stopped does not wait with it.
        tokio::select! {
            biased;
            answer = receive => answer.unwrap_or_else(|_| given_up()),
            () = scope.context.cancel.cancelled() => given_up(),
        }
    }
}

async fn run_batches(
    queues: &Queues,
    key: BatchKey,
    batch: usize,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    gate: &Arc<AdaptiveLimiter>,
    clock: &dyn Clock,
) {
    loop {
        // Lets those that wake up at the same time ask in the same call.
        tokio::task::yield_now().await;
        // Those who ask while this waits are served by the same call.
        let pass = gate.admit().await;
        let questions: Vec<_> = {
            let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
            match queues.get_mut(&key) {
                Some(queue) if !queue.is_empty() => {
                    let n = queue.len().min(batch);
                    queue.drain(..n).collect()
                }
                _ => {
                    queues.remove(&key);
                    return;
                }
            }
        };
        let is_full = questions.len() == batch;
        let began = clock.uptime();
        observe_batch(driver, scope, pass, questions).await;
        // Instances become ready one after the other: without this, each would be a call.
        if !is_full {
            clock.sleep((COLLECT_CALL_TIMES * (clock.uptime().saturating_sub(began))).min(MAX_COLLECT_TIME)).await;
        }
    }
}

async fn observe_batch(driver: &Arc<dyn Driver>, scope: &CallScope, pass: Admission, questions: Vec<ObserveRequest>) {
    let handles: Vec<_> = questions.iter().map(|question| question.handle.clone()).collect();
    let answer = driver.observe(scope, &handles).await;
    pass.report(&answer);
    let answers = match answer {
        Ok(answers) if answers.len() == handles.len() => answers.into_iter().map(Ok).collect(),
        Ok(answers) => {
            let message = format!("the driver gave {} answers to {} questions", answers.len(), handles.len());
            vec![Err(Fault::new(Reaction::Retry, "driver.wrong-count", message)); handles.len()]
        }
        Err(fault) => vec![Err(retry_if_ambiguous(fault, handles.len())); handles.len()],
    };
    for (question, answer) in questions.into_iter().zip(answers) {
        // Whoever asked may have been stopped.
        let _ = question.answer.send(answer);
    }
}

/// `not-found` as the answer to many questions does not say which of them it is about: nothing is gone for that.
pub(super) fn retry_if_ambiguous(mut fault: Fault, questions: usize) -> Fault {
    if questions > 1 && fault.reaction == Reaction::NotFound {
        fault.reaction = Reaction::Retry;
    }
    fault
}
