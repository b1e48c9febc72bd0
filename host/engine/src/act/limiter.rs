//! The way to one driver at one endpoint, which all calls of an engine share. It stands open until the cloud refuses calls for
//! being too many; from then on they go one behind the other, as [`Rate`] says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::backoff::MAX_RETRY_AFTER;
use super::rate_limit::{AcceptedCalls, RateLimit};
use crate::ports::{Clock, Fault, Reaction};

/// One refusal that does not say for how long is an accident; another within this time is not.
const REFUSAL_WINDOW: Duration = Duration::from_secs(1);

/// Characters of a refusal that are kept, to be told to those who wait.
const MAX_REFUSAL_CHARS: usize = 300;

/// Admits calls, in the order in which they came.
pub(super) struct AdaptiveLimiter {
    clock: Arc<dyn Clock>,
    /// Calls at a time that one run makes when there is no limit.
    max_in_flight: usize,
    /// No call for so long after a refusal that does not say for how long.
    pause: Duration,
    state: Mutex<State>,
    /// Only the first of those who wait looks at the limit.
    queue_head: tokio::sync::Mutex<()>,
    call_ended: Notify,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    accepted: AcceptedCalls,
    limit: Option<RateLimit>,
    /// When the last call was refused.
    last_refusal: Option<Duration>,
    /// The message of that refusal.
    refusal: String,
    /// How often it was narrowed. What began earlier does not narrow it again.
    generation: u64,
}

/// A call that was admitted. To be told how it ended; dropped without, it says nothing of the cloud.
pub(super) struct Admission {
    limiter: Arc<AdaptiveLimiter>,
    generation: u64,
}

/// What an answer says of the cloud's load.
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
            // No server, or a plugin that failed by itself: nothing is known of the cloud.
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
    pub(super) fn new(clock: Arc<dyn Clock>, most: usize, pause: Duration) -> Self {
        let (state, first, left) = Default::default();
        Self { clock, max_in_flight: most, pause, state, queue_head: first, call_ended: left }
    }

    /// Waits until another call may begin. May be given up at any time.
    pub(super) async fn admit(self: &Arc<Self>) -> Admission {
        if let Some(pass) = self.admit_unlimited() {
            return pass;
        }
        let _first = self.queue_head.lock().await;
        loop {
            match self.try_admit() {
                Ok(pass) => return pass,
                Err(Some(wait)) => self.clock.sleep(wait).await,
                Err(None) => self.call_ended.notified().await,
            }
        }
    }

    /// Returns what the cloud answered to the call that it refused last, as long as others have to wait for that.
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

    /// Otherwise says how long to wait, or that a call has to end first.
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

    fn record(&self, round: u64, fault: Option<&Fault>) {
        let sign = LoadSignal::from_fault(fault);
        if sign == LoadSignal::Inconclusive {
            return;
        }
        let now = self.clock.uptime();
        let state = &mut *self.state();
        let LoadSignal::Overload(asked) = sign else {
            state.accepted.record(now);
            if let Some(limit) = &mut state.limit {
                limit.on_accepted();
                if limit.can_be_lifted(now, self.max_in_flight) {
                    tracing::info!("the cloud takes calls again; the limit is lifted");
                    state.limit = None;
                }
            }
            return;
        };
        let before = state.last_refusal.replace(now);
        state.refusal = fault.map(|fault| fault.message.chars().take(MAX_REFUSAL_CHARS).collect()).unwrap_or_default();
        let is_second = before.is_some_and(|before| now.saturating_sub(before) <= REFUSAL_WINDOW);
        if state.limit.is_none() && asked.is_none() && !is_second {
            return;
        }
        let pause = asked.unwrap_or(self.pause).min(MAX_RETRY_AFTER);
        let limit = state.limit.get_or_insert_with(|| RateLimit::new(state.in_flight));
        if round == state.generation {
            tracing::debug!(?asked, in_flight = state.in_flight, "the cloud refuses calls; fewer are made");
            state.generation += 1;
            limit.on_refused(now, state.in_flight, pause);
        } else if asked.is_some() {
            limit.pause_for(now, pause);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Takes in how the call ended.
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
