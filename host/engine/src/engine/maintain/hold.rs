//! The hold: if very many instances look dead at once, it is more likely that the observations are wrong than that all
//! of them died, so none is replaced.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use occopus_model::Maintenance;

use super::healing::Claims;
use crate::act::{Death, elapsed};
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

/// The rule of the hold, with the dead instances that were released: they do not count any more.
#[derive(Default)]
pub(super) struct HoldPolicy {
    released: HashSet<String>,
}

/// Instances that the last survey found dead, and the number of surveyed instances.
pub(super) struct DeathTally<'a> {
    pub(super) deaths: &'a HashMap<String, Death>,
    pub(super) surveyed: usize,
}

impl HoldPolicy {
    /// Releases every instance that looks dead now.
    pub(super) fn release(&mut self, deaths: &HashMap<String, Death>) {
        self.released.extend(deaths.keys().cloned());
    }

    /// Returns whether every released instance is replaced or healthy.
    pub(super) fn is_release_complete(&self, deaths: &HashMap<String, Death>, claims: &Claims) -> bool {
        !self.released.iter().any(|id| deaths.contains_key(id) || claims.has(id))
    }

    /// Returns the number of dead and of all instances if healing is to be on hold. Instances that their clouds have
    /// reported as dead for long enough are released, and do not count.
    pub(super) fn evaluate<'a>(
        &mut self,
        limits: &HealingLimits,
        dead: &DeathTally<'_>,
        claims: &Claims,
        record: impl Fn(&str) -> Option<&'a InstanceRecord>,
        now: Timestamp,
    ) -> Option<(usize, usize)> {
        self.released.retain(|id| dead.deaths.contains_key(id) || claims.has(id));
        if !limits.hold_for.is_zero() {
            let is_confirmed = |record: &InstanceRecord| {
                record.is_observed_dead()
                    && record.unobserved.is_none()
                    && elapsed(record.since, now) >= limits.hold_for
            };
            let confirmed = dead.deaths.keys().filter(|id| record(id).is_some_and(is_confirmed));
            self.released.extend(confirmed.cloned());
        }
        let unreleased = dead.deaths.keys().filter(|id| !self.released.contains(*id)).count();
        let replacing_released = self.released.iter().filter(|id| claims.has(id)).count();
        let replacing = claims.replacements();
        let (count, of) = (unreleased + replacing.saturating_sub(replacing_released), dead.surveyed + replacing);
        (unreleased > 0 && count > at_least_one_of(of, limits.hold_above)).then_some((count, of))
    }
}

/// Returns a fraction of a total, rounded down, but at least one.
fn at_least_one_of(total: usize, fraction: f64) -> usize {
    ((total as f64 * fraction).floor() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::at_least_one_of;

    #[test]
    fn one_may_always_be_replaced() {
        assert_eq!(at_least_one_of(0, 0.2), 1);
        assert_eq!(at_least_one_of(4, 0.2), 1);
        assert_eq!(at_least_one_of(10, 0.2), 2);
        assert_eq!(at_least_one_of(10, 0.4), 4);
    }
}
