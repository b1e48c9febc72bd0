//! The way to one driver at one endpoint, which all calls of an engine share. It stands open until the cloud refuses calls for
//! being too many; from then on they go one behind the other, as [`Rate`] says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::backoff::LONGEST_ASKED;
use super::rate::{Accepted, Rate};
use crate::ports::{Clock, Fault, Reaction};

/// One refusal that does not say for how long is an accident; another within this time is not.
const SECOND_REFUSAL: Duration = Duration::from_secs(1);

/// Admits calls, in the order in which they came.
pub(super) struct Gate {
    clock: Arc<dyn Clock>,
    /// Calls at a time that one run makes when there is no limit.
    most: usize,
    /// No call for so long after a refusal that does not say for how long.
    pause: Duration,
    state: Mutex<State>,
    /// Only the first of those who wait looks at the limit.
    first: tokio::sync::Mutex<()>,
    left: Notify,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    accepted: Accepted,
    limit: Option<Rate>,
    /// When the last call was refused.
    refused: Option<Duration>,
    /// How often it was narrowed. What began earlier does not narrow it again.
    round: u64,
}

/// A call that was admitted. To be told how it ended; dropped without, it says nothing of the cloud.
pub(super) struct Pass {
    gate: Arc<Gate>,
    round: u64,
}

/// What an answer says of the cloud's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Accepted,
    Overload(Option<Duration>),
    Nothing,
}

impl Sign {
    fn of(fault: Option<&Fault>) -> Self {
        match fault {
            None => Self::Accepted,
            // No server, or a plugin that failed by itself: nothing is known of the cloud.
            Some(fault) if fault.unreachable || fault.code.starts_with("occopus.") => Self::Nothing,
            Some(fault) => match fault.reaction {
                Reaction::Retry => Self::Overload(fault.retry_after),
                Reaction::UnknownOutcome => Self::Nothing,
                _ => Self::Accepted,
            },
        }
    }
}

impl Gate {
    pub(super) fn new(clock: Arc<dyn Clock>, most: usize, pause: Duration) -> Self {
        let (state, first, left) = Default::default();
        Self { clock, most, pause, state, first, left }
    }

    /// Waits until another call may begin. May be given up at any time.
    pub(super) async fn enter(self: &Arc<Self>) -> Pass {
        if let Some(pass) = self.pass_when_open() {
            return pass;
        }
        let _first = self.first.lock().await;
        loop {
            match self.admit() {
                Ok(pass) => return pass,
                Err(Some(wait)) => self.clock.sleep(wait).await,
                Err(None) => self.left.notified().await,
            }
        }
    }

    /// Whether calls have to wait because the cloud has refused some.
    pub(super) fn is_limited(&self) -> bool {
        self.state().limit.is_some()
    }

    fn pass_when_open(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.state();
        if state.limit.is_some() {
            return None;
        }
        state.in_flight += 1;
        Some(Pass { gate: self.clone(), round: state.round })
    }

    /// Otherwise says how long to wait, or that a call has to end first.
    fn admit(self: &Arc<Self>) -> Result<Pass, Option<Duration>> {
        let now = self.clock.uptime();
        let state = &mut *self.state();
        if let Some(limit) = &mut state.limit {
            match limit.wait(now, state.in_flight) {
                Some(Duration::ZERO) => limit.begin(now, &state.accepted, state.in_flight),
                wait => return Err(wait),
            }
        }
        state.in_flight += 1;
        Ok(Pass { gate: self.clone(), round: state.round })
    }

    fn note(&self, round: u64, sign: Sign) {
        if sign == Sign::Nothing {
            return;
        }
        let now = self.clock.uptime();
        let state = &mut *self.state();
        let Sign::Overload(asked) = sign else {
            state.accepted.note(now);
            if let Some(limit) = &mut state.limit {
                limit.widen();
                if limit.is_over(now, self.most) {
                    tracing::info!("the cloud takes calls again; the limit is lifted");
                    state.limit = None;
                }
            }
            return;
        };
        let before = state.refused.replace(now);
        let is_second = before.is_some_and(|before| now.saturating_sub(before) <= SECOND_REFUSAL);
        if state.limit.is_none() && asked.is_none() && !is_second {
            return;
        }
        let pause = asked.unwrap_or(self.pause).min(LONGEST_ASKED);
        let limit = state.limit.get_or_insert_with(|| Rate::new(state.in_flight));
        if round == state.round {
            tracing::debug!(?asked, in_flight = state.in_flight, "the cloud refuses calls; fewer are made");
            state.round += 1;
            limit.narrow(now, state.in_flight, pause);
        } else if asked.is_some() {
            limit.hold(now, pause);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Takes in how the call ended.
    pub(super) fn end<T>(self, answer: &Result<T, Fault>) {
        self.gate.note(self.round, Sign::of(answer.as_ref().err()));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.state().in_flight -= 1;
        self.gate.left.notify_one();
    }
}
