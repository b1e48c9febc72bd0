//! Observation in batches: requests with the same access to the same cloud share one `observe` call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use occopus_model::section_type;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::endpoints::Endpoints;
use super::limiter::{AdaptiveLimiter, Admission};
use crate::ports::{CallScope, Clock, Driver, Fault, Handle, ObservedMachine, Reaction};
use crate::state::digest;

type Answer = Result<ObservedMachine, Fault>;

/// Keyword of the driver, and digest of the `resource` section.
type BatchKey = (String, u64);
type Queues = Mutex<HashMap<BatchKey, Vec<ObserveRequest>>>;

struct ObserveRequest {
    handle: Handle,
    answer: oneshot::Sender<Answer>,
}

/// Time for which requests are collected before the next call, in durations of the last one.
const COLLECT_CALL_TIMES: u32 = 2;
/// Longest time for which requests are collected.
const MAX_COLLECT_TIME: Duration = Duration::from_millis(200);

/// A collector of requests during a call and for a while after it.
pub(super) struct ObserveBatcher {
    max_batch: usize,
    clock: Arc<dyn Clock>,
    endpoints: Arc<Endpoints>,
    // The request that finds no queue starts the calls for all; later ones only join the queue.
    queues: Arc<Queues>,
    // Cancels the calls under way when the batcher is dropped.
    cancel_on_drop: DropGuard,
}

impl ObserveBatcher {
    pub(super) fn new(max_batch: usize, clock: Arc<dyn Clock>, endpoints: Arc<Endpoints>) -> Self {
        let cancel_on_drop = CancellationToken::new().drop_guard();
        Self { max_batch: max_batch.max(1), clock, endpoints, queues: Arc::default(), cancel_on_drop }
    }

    /// Observes one machine. Equal `resource` sections mean the same access to the same cloud.
    pub(super) async fn observe(&self, driver: &Arc<dyn Driver>, scope: &CallScope, handle: &Handle) -> Answer {
        let kind = section_type(&scope.section).unwrap_or_default();
        let key = (kind.to_owned(), digest(scope.section.to_string().as_bytes()));
        let (answer, receive) = oneshot::channel();
        let request = ObserveRequest { handle: handle.clone(), answer };
        let first = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            match queues.get_mut(&key) {
                Some(queue) => {
                    queue.push(request);
                    false
                }
                None => {
                    queues.insert(key.clone(), vec![request]);
                    true
                }
            }
        };
        if first {
            let (queues, max_batch) = (self.queues.clone(), self.max_batch);
            let (driver, scope, clock) = (driver.clone(), scope.clone(), self.clock.clone());
            let limiter = self.endpoints.limits_for(&scope.section).limiter.clone();
            let dropped = self.cancel_on_drop.token().clone();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = dropped.cancelled() => {}
                    () = run_batches(&queues, key, max_batch, &driver, &scope, &limiter, &*clock) => {}
                }
            });
        }
        let cancelled = || Err(Fault::new(Reaction::Retry, "engine.observe", "the observation was cancelled"));
        // The call may be queued for long, and a cancelled caller does not wait for it.
        tokio::select! {
            biased;
            answer = receive => answer.unwrap_or_else(|_| cancelled()),
            () = scope.context.cancel.cancelled() => cancelled(),
        }
    }
}

async fn run_batches(
    queues: &Queues,
    key: BatchKey,
    max_batch: usize,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    limiter: &Arc<AdaptiveLimiter>,
    clock: &dyn Clock,
) {
    loop {
        // Lets tasks that wake up at the same time join the same call.
        tokio::task::yield_now().await;
        // Requests that arrive during this wait join the same call.
        let admission = limiter.admit().await;
        let requests: Vec<_> = {
            let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
            match queues.get_mut(&key) {
                Some(queue) if !queue.is_empty() => {
                    let n = queue.len().min(max_batch);
                    queue.drain(..n).collect()
                }
                _ => {
                    queues.remove(&key);
                    return;
                }
            }
        };
        let is_full = requests.len() == max_batch;
        let began = clock.uptime();
        observe_batch(driver, scope, admission, requests).await;
        // Instances become ready one after the other: without this pause, each would cost a call.
        if !is_full {
            clock.sleep((COLLECT_CALL_TIMES * (clock.uptime().saturating_sub(began))).min(MAX_COLLECT_TIME)).await;
        }
    }
}

async fn observe_batch(
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    admission: Admission,
    requests: Vec<ObserveRequest>,
) {
    let handles: Vec<_> = requests.iter().map(|request| request.handle.clone()).collect();
    let answer = driver.observe(scope, &handles).await;
    admission.report(&answer);
    let answers = match answer {
        Ok(answers) if answers.len() == handles.len() => answers.into_iter().map(Ok).collect(),
        Ok(answers) => {
            let message = format!("the driver returned {} answers for {} handles", answers.len(), handles.len());
            vec![Err(Fault::new(Reaction::Retry, "driver.wrong-count", message)); handles.len()]
        }
        Err(fault) => vec![Err(retry_if_ambiguous(fault, handles.len())); handles.len()],
    };
    for (request, answer) in requests.into_iter().zip(answers) {
        // The caller may have been cancelled.
        let _ = request.answer.send(answer);
    }
}

/// Turns a `not-found` for many handles into a retry: the fault does not say which of the machines is gone.
pub(super) fn retry_if_ambiguous(mut fault: Fault, handles: usize) -> Fault {
    if handles > 1 && fault.reaction == Reaction::NotFound {
        fault.reaction = Reaction::Retry;
    }
    fault
}
