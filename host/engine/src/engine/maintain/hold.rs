//! The hold: if very many instances look dead at once, it is more likely that the observations are wrong than that all
//! of them died, so none is replaced.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use occopus_model::Maintenance;

use super::jobs::Claims;
use super::observed::ObservedState;
use crate::act::elapsed;
use crate::ports::Revision;
use crate::settings::Settings;
use crate::state::InstanceRecord;

/// Limits of healing: those of the infrastructure, otherwise those of the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct HealingLimits {
    hold_above: f64,
    replace_at_once: f64,
    hold_for: Duration,
}

impl HealingLimits {
    pub(super) fn new(settings: &Settings, own: Maintenance) -> Self {
        let fraction = |percent: Option<f64>, default: f64| percent.map_or(default, |percent| percent / 100.0);
        let hold_for = own.hold_minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
        Self {
            hold_above: fraction(own.hold_above_percent, settings.hold_above),
            replace_at_once: fraction(own.replace_at_once_percent, settings.replace_at_once),
            hold_for: hold_for.unwrap_or(settings.hold_for),
        }
    }

    /// Returns how many of `of` instances may be replaced at a time.
    pub(super) fn max_replacements(&self, of: usize) -> usize {
        at_least_one_of(of, self.replace_at_once)
    }
}

/// Numbers of dead and of all instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeadShare {
    pub(super) dead: usize,
    pub(super) of: usize,
}

/// The rule of the hold, and what was released from it.
pub(super) struct Hold {
    pub(super) limits: HealingLimits,
    /// Dead instances that do not count any more.
    released: HashSet<String>,
    /// Revision of the request for the end of a hold that was accepted, and is not completed.
    accepted_request: Option<Revision>,
    /// Set while healing is on hold.
    active: Option<DeadShare>,
}

impl Hold {
    pub(super) fn new(limits: HealingLimits) -> Self {
        Self { limits, released: HashSet::new(), accepted_request: None, active: None }
    }

    /// Returns how much looks dead, while healing is on hold.
    pub(super) fn active(&self) -> Option<DeadShare> {
        self.active
    }

    /// Releases every instance that looks dead now.
    pub(super) fn release(&mut self, observed: &ObservedState) {
        self.released.extend(observed.deaths.keys().cloned());
    }

    /// Returns whether a request for the end of the hold is another one than the one that was accepted.
    pub(super) fn is_new(&self, request: Revision) -> bool {
        self.accepted_request != Some(request)
    }

    /// Accepts a request for the end of the hold.
    pub(super) fn accept(&mut self, request: Revision) {
        self.accepted_request = Some(request);
    }

    /// Returns the accepted request once every released instance is replaced or healthy. It is then completed.
    pub(super) fn take_completed_request(&mut self, observed: &ObservedState, claims: &Claims) -> Option<Revision> {
        let is_open = self.released.iter().any(|id| observed.deaths.contains_key(id) || claims.has(id));
        self.accepted_request.take_if(|_| !is_open)
    }

    /// Decides anew whether healing is on hold. Instances that their clouds have reported as dead for long enough are
    /// released, and do not count.
    pub(super) fn evaluate(&mut self, observed: &ObservedState, claims: &Claims, now: Timestamp) {
        self.released.retain(|id| observed.deaths.contains_key(id) || claims.has(id));
        let hold_for = self.limits.hold_for;
        if !hold_for.is_zero() {
            let is_confirmed = |record: &InstanceRecord| {
                record.is_observed_dead() && record.unobserved.is_none() && elapsed(record.since, now) >= hold_for
            };
            let confirmed = observed.deaths.keys().filter(|id| observed.records.get(*id).is_some_and(is_confirmed));
            self.released.extend(confirmed.cloned());
        }
        let unreleased = observed.deaths.keys().filter(|id| !self.released.contains(*id)).count();
        let replacing_released = self.released.iter().filter(|id| claims.has(id)).count();
        let replacing = claims.replacements();
        let dead = unreleased + replacing.saturating_sub(replacing_released);
        let of = observed.surveyed + replacing;
        let is_held = unreleased > 0 && dead > at_least_one_of(of, self.limits.hold_above);
        self.active = is_held.then_some(DeadShare { dead, of });
    }
}

/// Returns a fraction of a total, rounded down, but at least one.
fn at_least_one_of(total: usize, fraction: f64) -> usize {
    ((total as f64 * fraction).floor() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::jobs::JobClaim;
    use super::*;

    #[test]
    fn one_may_always_be_replaced() {
        assert_eq!(at_least_one_of(0, 0.2), 1);
        assert_eq!(at_least_one_of(4, 0.2), 1);
        assert_eq!(at_least_one_of(10, 0.2), 2);
        assert_eq!(at_least_one_of(10, 0.4), 4);
    }

    /// Returns ten instances, of which this many have vanished at 12:00.
    fn observed(dead: usize) -> ObservedState {
        let record = |number: usize| {
            let state = if number < dead { "vanished" } else { "ready" };
            let record = json!({
                "id": number.to_string(), "node": "web", "state": state, "implementation": 0,
                "section": {"type": "fake"}, "health_check": {"checks": {}, "timeout": 60},
                "created": "2026-01-01T00:00:00Z", "since": "2026-01-01T12:00:00Z",
                "ready_at": "2026-01-01T00:00:00Z", "handle": {"version": 1, "data": number.to_string()},
            });
            serde_json::from_value(record).unwrap()
        };
        ObservedState::new((0..10).map(record).collect())
    }

    fn claims(replaced: &[&str]) -> Claims {
        let mut claims = Claims::default();
        let instances = replaced.iter().map(|id| (*id).to_owned()).collect();
        claims.add(&JobClaim { instances, nodes: Vec::new(), replacements: replaced.len() });
        claims
    }

    #[test]
    fn healing_is_on_hold_while_too_many_look_dead() {
        // Number of dead instances, instances that are being replaced, time, and whether the dead are released before.
        let cases = [
            (0, &[][..], "12:01", false, None),
            (4, &[], "12:01", false, None),
            (5, &[], "12:01", false, Some(DeadShare { dead: 5, of: 10 })),
            (5, &[], "12:01", true, None),
            // Their cloud has reported them as dead for ten minutes.
            (5, &[], "12:09", false, Some(DeadShare { dead: 5, of: 10 })),
            (5, &[], "12:10", false, None),
            // Those that are being replaced count as dead, but do not begin a hold alone.
            (4, &["a", "b"], "12:01", false, Some(DeadShare { dead: 6, of: 12 })),
            (0, &["a", "b", "c", "d", "e", "f", "g"], "12:01", false, None),
        ];
        for (dead, replaced, time, is_released, expected) in cases {
            let mut hold = Hold::new(HealingLimits::new(&Settings::default(), Maintenance::default()));
            let observed = observed(dead);
            if is_released {
                hold.release(&observed);
            }
            hold.evaluate(&observed, &claims(replaced), format!("2026-01-01T{time}:00Z").parse().unwrap());
            assert_eq!(hold.active(), expected, "{dead} dead, {replaced:?} being replaced, at {time}");
        }
    }

    #[test]
    fn a_request_is_completed_when_all_that_it_released_is_replaced_or_healthy() {
        let mut hold = Hold::new(HealingLimits::new(&Settings::default(), Maintenance::default()));
        let (dead, healthy) = (observed(5), observed(0));
        assert!(hold.is_new(7));
        hold.release(&dead);
        hold.accept(7);
        assert!(!hold.is_new(7) && hold.is_new(8));
        assert_eq!(hold.take_completed_request(&dead, &Claims::default()), None);
        assert_eq!(hold.take_completed_request(&healthy, &claims(&["0"])), None, "one is still being replaced");
        assert_eq!(hold.take_completed_request(&healthy, &Claims::default()), Some(7));
        assert_eq!(hold.take_completed_request(&healthy, &Claims::default()), None);
    }
}
