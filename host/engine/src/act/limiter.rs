//! Admission of calls to one driver at one endpoint, shared by all runs of an engine. It is unlimited until the cloud
//! refuses calls for being too many; from then on calls are admitted in order, at the rate of a [`RateLimit`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::backoff::MAX_RETRY_AFTER;
use super::rate_limit::{AcceptedCalls, RateLimit};
use crate::ports::{Clock, Fault, Reaction};

/// Time within which a second refusal that does not say how long to wait limits calls; a single one is ignored.
const REFUSAL_WINDOW: Duration = Duration::from_secs(1);

/// An adaptive limiter, which admits calls in the order of their requests.
pub(super) struct AdaptiveLimiter {
    clock: Arc<dyn Clock>,
    /// Concurrent calls of one run while there is no limit.
    max_in_flight: usize,
    /// Pause after a refusal that does not say how long to wait.
    pause: Duration,
    state: Mutex<State>,
    /// Held by the first of the queued calls, the only one that checks the limit.
    queue_head: tokio::sync::Mutex<()>,
    call_ended: Notify,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    accepted: AcceptedCalls,
    limit: Option<RateLimit>,
    /// Time of the last refusal.
    last_refusal: Option<Duration>,
    /// Code of the last refusal. Its message is of one account, and those who wait may have another one.
    refusal: String,
    /// Number of reductions of the limit. A call that began before the last one does not reduce it again.
    generation: u64,
}

/// An admitted call. Its answer goes to [`Admission::report`]; if it is dropped instead, the limit stays unchanged.
pub(super) struct Admission {
    limiter: Arc<AdaptiveLimiter>,
    generation: u64,
}

/// A signal about the cloud's load, taken from one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadSignal {
    Accepted,
    Overload(Option<Duration>),
    Inconclusive,
}

impl LoadSignal {
    fn from_fault(fault: Option<&Fault>) -> Self {
        match fault {
            None => Self::Accepted,
            // No server answered, or the plugin itself failed: nothing is known about the cloud.
            Some(fault) if fault.unreachable || fault.code.starts_with("occopus.") => Self::Inconclusive,
            Some(fault) => match fault.reaction {
                Reaction::Retry => Self::Overload(fault.retry_after),
                Reaction::UnknownOutcome => Self::Inconclusive,
                _ => Self::Accepted,
            },
        }
    }
}

impl AdaptiveLimiter {
    pub(super) fn new(clock: Arc<dyn Clock>, max_in_flight: usize, pause: Duration) -> Self {
        let (state, queue_head, call_ended) = Default::default();
        Self { clock, max_in_flight, pause, state, queue_head, call_ended }
    }

    /// Waits until another call may begin. May be cancelled at any time.
    pub(super) async fn admit(self: &Arc<Self>) -> Admission {
        if let Some(admission) = self.admit_unlimited() {
            return admission;
        }
        let _queue_head = self.queue_head.lock().await;
        loop {
            match self.try_admit() {
                Ok(admission) => return admission,
                Err(Some(wait)) => self.clock.sleep(wait).await,
                Err(None) => self.call_ended.notified().await,
            }
        }
    }

    /// Returns the code of the refusal for which calls have to wait.
    pub(super) fn refusal(&self) -> Option<String> {
        let state = self.state();
        state.limit.is_some().then(|| state.refusal.clone())
    }

    fn admit_unlimited(self: &Arc<Self>) -> Option<Admission> {
        let mut state = self.state();
        if state.limit.is_some() {
            return None;
        }
        state.in_flight += 1;
        Some(Admission { limiter: self.clone(), generation: state.generation })
    }

    /// Admits a call. The error is the time to wait, or `None` if another call has to end first.
    fn try_admit(self: &Arc<Self>) -> Result<Admission, Option<Duration>> {
        let now = self.clock.uptime();
        let state = &mut *self.state();
        if let Some(limit) = &mut state.limit {
            match limit.wait(now, state.in_flight) {
                Some(Duration::ZERO) => limit.on_begin(now, &state.accepted, state.in_flight),
                wait => return Err(wait),
            }
        }
        state.in_flight += 1;
        Ok(Admission { limiter: self.clone(), generation: state.generation })
    }

    fn record(&self, generation: u64, fault: Option<&Fault>) {
        let signal = LoadSignal::from_fault(fault);
        if signal == LoadSignal::Inconclusive {
            return;
        }
        let now = self.clock.uptime();
        let state = &mut *self.state();
        let LoadSignal::Overload(retry_after) = signal else {
            state.accepted.record(now);
            if let Some(limit) = &mut state.limit {
                limit.on_accepted();
                if limit.can_be_lifted(now, self.max_in_flight) {
                    tracing::info!("the cloud accepts calls again; the rate limit is lifted");
                    state.limit = None;
                }
            }
            return;
        };
        let before = state.last_refusal.replace(now);
        state.refusal = fault.map(|fault| fault.code.clone()).unwrap_or_default();
        let is_second = before.is_some_and(|before| now.saturating_sub(before) <= REFUSAL_WINDOW);
        if state.limit.is_none() && retry_after.is_none() && !is_second {
            return;
        }
        let pause = retry_after.unwrap_or(self.pause).min(MAX_RETRY_AFTER);
        let limit = state.limit.get_or_insert_with(|| RateLimit::new(state.in_flight));
        if generation == state.generation {
            tracing::debug!(asked = ?retry_after, in_flight = state.in_flight, "the cloud refuses calls; the rate limit is reduced");
            state.generation += 1;
            limit.on_refused(now, state.in_flight, pause);
        } else if retry_after.is_some() {
            limit.pause_for(now, pause);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Adjusts the limit to the answer of the call.
    pub(super) fn report<T>(self, answer: &Result<T, Fault>) {
        self.limiter.record(self.generation, answer.as_ref().err());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.limiter.state().in_flight -= 1;
        self.limiter.call_ended.notify_one();
    }
}
