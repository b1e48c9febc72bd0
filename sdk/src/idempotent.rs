//! A single machine per instance id, on clouds that do not guarantee it themselves.
//!
//! The host repeats a creation whose outcome it does not know, and two owners of an infrastructure may create the same
//! instance at the same time. A cloud without idempotency tokens makes a machine for each request. A driver puts the
//! instance id on its machines (tag, metadata, name), implements [`Machines`], and calls [`Creation::run`] and [`find`]:
//!
//! - A first creation costs one call. One that took longer than [`FIRST_ATTEMPT_MAX`] may have been overtaken, and
//!   searches afterwards.
//! - A repeated creation searches before, and when it has made a machine, waits until a first creation that was under way
//!   must have arrived and is listed, and searches again.
//! - Of several machines with one id the oldest survives; every search destroys the others. [`remove_twins`] does so in an
//!   observation, for requests that the network delivers twice.
//!
//! Two assumptions are made of the cloud: a list shows the machines of one moment, not longer than
//! [`Machines::LIST_LAG`] ago, and a creation whose sender died arrives within [`FIRST_ATTEMPT_MAX`].
//!
//! ```
//! use std::cell::RefCell;
//! use std::time::Duration;
//!
//! use occopus_sdk::idempotent::{Creation, Machines, Outcome, find};
//! use occopus_sdk::{Fault, NodeRequest, Scope};
//!
//! #[derive(Clone)]
//! struct Machine {
//!     id: String,
//!     instance: String,
//!     created: u64,
//! }
//!
//! struct Cloud(RefCell<Vec<Machine>>);
//!
//! impl Machines for Cloud {
//!     type Machine = Machine;
//!
//!     const LIST_LAG: Duration = Duration::ZERO;
//!     const SEARCH_PAUSES: &'static [Duration] = &[Duration::from_millis(10)];
//!
//!     fn list(&self, instance_id: &str) -> Result<Vec<Machine>, Fault> {
//!         Ok(self.0.borrow().iter().filter(|machine| machine.instance == instance_id).cloned().collect())
//!     }
//!
//!     fn destroy(&self, machine: &Machine) -> Result<(), Fault> {
//!         self.0.borrow_mut().retain(|other| other.id != machine.id);
//!         Ok(())
//!     }
//!
//!     fn id(machine: &Machine) -> &str {
//!         &machine.id
//!     }
//!
//!     fn instance_id(machine: &Machine) -> Option<&str> {
//!         Some(&machine.instance)
//!     }
//!
//!     fn created(machine: &Machine) -> impl Ord {
//!         machine.created
//!     }
//! }
//!
//! /// Called by `Driver::create`.
//! fn create(cloud: &Cloud, request: &NodeRequest<()>) -> Result<Machine, Fault> {
//!     let (Outcome::Found(machine) | Outcome::Made(machine)) = Creation::begin(request).run(cloud, || {
//!         let machine = Machine { id: "m-9".to_owned(), instance: request.instance_id.clone(), created: 9 };
//!         cloud.0.borrow_mut().push(machine.clone());
//!         Ok(machine)
//!     })?;
//!     Ok(machine)
//! }
//!
//! /// Called by `Driver::find`.
//! fn search(cloud: &Cloud, scope: &Scope<()>, instance_id: &str) -> Result<Option<Machine>, Fault> {
//!     find(cloud, scope.call(), instance_id)
//! }
//! ```

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::{Call, Fault, NodeRequest, Reaction, log};

#[cfg(test)]
mod tests;

/// Time within which a creation reaches the cloud and is answered. A slower one searches for machines of other owners
/// itself, so that a repeated creation need not wait for longer.
pub const FIRST_ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// Time that is left for the answer to the host when a wait is cut short by the deadline of the call.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// The machines of one cloud (account, project), as far as their identity is concerned.
pub trait Machines {
    /// A machine as lists show it.
    type Machine;

    /// Longest time from a machine's creation until each list shows it, or the unit of [`Machines::created`] if that is
    /// longer.
    const LIST_LAG: Duration;
    /// Pauses of a search between lists that show no machine. [`find`] returns none only after their sum.
    const SEARCH_PAUSES: &'static [Duration];

    /// Returns true if the cloud itself makes one machine for an instance id, however often it is requested: it has client
    /// tokens, or the id is part of a unique name. A repeated creation then does not wait.
    fn creates_once(&self) -> bool {
        false
    }

    /// Lists all machines that carry this instance id and are neither gone nor being removed, on all pages, in any order.
    ///
    /// # Errors
    /// `retry` if a later list may succeed. An incomplete list is an error.
    fn list(&self, instance_id: &str) -> Result<Vec<Self::Machine>, Fault>;

    /// Destroys one machine. Succeeds if it does not exist any more.
    ///
    /// # Errors
    /// Fails if the cloud does not confirm it.
    fn destroy(&self, machine: &Self::Machine) -> Result<(), Fault>;

    /// Returns the cloud's id of a machine. Orders machines that were created at the same time.
    fn id(machine: &Self::Machine) -> &str;

    /// Returns the instance id that a machine carries. A machine that carries another id is never destroyed, even if
    /// [`Machines::list`] returns it.
    fn instance_id(machine: &Self::Machine) -> Option<&str>;

    /// Returns the time at which the cloud created a machine, by the cloud's clock. It never changes.
    fn created(machine: &Self::Machine) -> impl Ord;
}

/// A machine that a creation answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<M, C> {
    /// The machine that survives, as a list shows it. Perhaps another attempt made it.
    Found(M),
    /// The machine that was made now, as the answer to its creation shows it.
    Made(C),
}

/// Attempt to create the machine of an instance.
pub struct Creation<'a>(Attempt<'a, CallClock<'a>>);

struct Attempt<'a, T> {
    instance_id: &'a str,
    is_repeated: bool,
    call: &'a Call,
    clock: T,
}

/// Clock of an attempt, which a test simulates.
trait Clock {
    /// Returns the time since the attempt began.
    fn elapsed(&self) -> Duration;
    fn wait(&self, pause: Duration);
}

struct CallClock<'a> {
    call: &'a Call,
    begun: Instant,
}

impl<'a> CallClock<'a> {
    fn start(call: &'a Call) -> Self {
        Self { call, begun: Instant::now() }
    }
}

impl Clock for CallClock<'_> {
    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn wait(&self, pause: Duration) {
        self.call.wait(pause);
    }
}

impl<'a> Creation<'a> {
    /// Begins an attempt. Comes first in `Driver::create`, before any request is sent, a login included: the order in which
    /// attempts begin is the order of their owners.
    pub fn begin<S>(request: &'a NodeRequest<S>) -> Self {
        let call = request.scope.call();
        let clock = CallClock::start(call);
        Self(Attempt { instance_id: &request.instance_id, is_repeated: request.repeated, call, clock })
    }

    /// Makes a machine with `make`, unless this is a repetition and there is one. Blocks for up to [`FIRST_ATTEMPT_MAX`],
    /// [`Machines::LIST_LAG`] and the pauses of a search when the attempt is a repetition; a call that is cancelled or has
    /// little time left does not wait for creations under way.
    ///
    /// # Errors
    /// Fails if `make` fails or the search before it; with `unknown-outcome` if a machine was made and the search after it
    /// fails.
    pub fn run<M: Machines, C>(
        self,
        machines: &M,
        make: impl FnOnce() -> Result<C, Fault>,
    ) -> Result<Outcome<M::Machine, C>, Fault> {
        self.0.run(machines, make)
    }
}

impl<T: Clock> Attempt<'_, T> {
    fn run<M: Machines, C>(
        self,
        machines: &M,
        make: impl FnOnce() -> Result<C, Fault>,
    ) -> Result<Outcome<M::Machine, C>, Fault> {
        if self.is_repeated
            && let Some(existing) = oldest(machines, self.instance_id)?
        {
            return Ok(Outcome::Found(existing));
        }
        let made = make()?;
        if !self.is_repeated && self.clock.elapsed() < FIRST_ATTEMPT_MAX {
            return Ok(Outcome::Made(made));
        }
        if !machines.creates_once() {
            self.outlast_first_attempt(M::LIST_LAG);
        }
        match search(machines, self.instance_id, &self.clock) {
            Ok(found) => Ok(found.map_or(Outcome::Made(made), Outcome::Found)),
            // There is a machine, and perhaps a twin of it: the host calls `find`.
            Err(fault) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }),
        }
    }

    /// Waits until each first attempt that began before this one has arrived, and lists show what it made.
    fn outlast_first_attempt(&self, list_lag: Duration) {
        if !self.call.cancelled() {
            let pause = FIRST_ATTEMPT_MAX.saturating_sub(self.clock.elapsed()) + list_lag;
            self.clock.wait(pause.min(self.call.remaining().saturating_sub(ANSWER_MARGIN)));
        }
    }
}

/// Finds the machine that survives under an instance id, and destroys its twins. Lists again after each of
/// [`Machines::SEARCH_PAUSES`] while there is none: a request may be on its way.
///
/// # Errors
/// Fails if the last list fails, if an earlier one fails with another reaction than `retry`, or if a twin can't be
/// destroyed.
pub fn find<M: Machines>(machines: &M, call: &Call, instance_id: &str) -> Result<Option<M::Machine>, Fault> {
    search(machines, instance_id, &CallClock::start(call))
}

fn search<M: Machines>(machines: &M, instance_id: &str, clock: &impl Clock) -> Result<Option<M::Machine>, Fault> {
    for pause in M::SEARCH_PAUSES {
        match oldest(machines, instance_id) {
            Ok(None) => {}
            Err(fault) if fault.reaction == Reaction::Retry => {}
            found_or_error => return found_or_error,
        }
        clock.wait(*pause);
    }
    oldest(machines, instance_id)
}

/// The oldest machine of one list; its twins are destroyed.
fn oldest<M: Machines>(machines: &M, instance_id: &str) -> Result<Option<M::Machine>, Fault> {
    let mut found = machines.list(instance_id)?;
    found.retain(|machine| M::instance_id(machine) == Some(instance_id));
    found.sort_by(|a, b| (M::created(a), M::id(a)).cmp(&(M::created(b), M::id(b))));
    let mut found = found.into_iter();
    let survivor = found.next();
    for twin in found {
        log::warn(format!("machine {} carries the id of instance {instance_id} too: destroying it", M::id(&twin)));
        machines.destroy(&twin)?;
    }
    Ok(survivor)
}

/// Destroys machines that were seen alive in an observation and carry the same instance id as an observed machine that is
/// alive, too. `observed` has the instance id and the cloud's id of each machine that the host knows; those are kept. A twin
/// that can't be destroyed now is logged, and seen again in the next observation.
pub fn remove_twins<'m, M: Machines>(
    machines: &M,
    observed: &[(Option<&str>, &str)],
    alive: impl Iterator<Item = &'m M::Machine> + Clone,
) where
    M::Machine: 'm,
{
    let alive_ids: HashSet<&str> = alive.clone().map(M::id).collect();
    let known_ids: HashSet<&str> = observed.iter().map(|(_, id)| *id).collect();
    let keepers: HashMap<&str, &str> = observed
        .iter()
        .filter(|(_, id)| alive_ids.contains(id))
        .filter_map(|(instance_id, id)| Some(((*instance_id)?, *id)))
        .collect();
    for twin in alive.filter(|machine| !known_ids.contains(M::id(machine))) {
        let Some(keeper) = M::instance_id(twin).and_then(|instance_id| keepers.get(instance_id)) else { continue };
        let id = M::id(twin);
        log::warn(format!("machine {id} carries the same instance id as {keeper}: destroying it"));
        if let Err(fault) = machines.destroy(twin) {
            log::warn(format!("machine {id} cannot be destroyed yet: {fault}"));
        }
    }
}
