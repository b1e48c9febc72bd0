//! When so much looks dead at once that it is more likely that the view is wrong than that all of it died.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use occopus_model::Maintenance;

use super::healing::HealingJobs;
use crate::act::{Death, elapsed};
use crate::settings::Settings;
use crate::state::InstanceRecord;

/// The bounds of healing: those of the infrastructure, otherwise those of the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct HealingLimits {
    hold_above: f64,
    replace_at_once: f64,
    hold_for: Duration,
}

impl HealingLimits {
    pub(super) fn new(settings: &Settings, own: Maintenance) -> Self {
        let part = |percent: Option<f64>, usual: f64| percent.map_or(usual, |percent| percent / 100.0);
        let said = own.hold_minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
        Self {
            hold_above: part(own.hold_above_percent, settings.hold_above),
            replace_at_once: part(own.replace_at_once_percent, settings.replace_at_once),
            hold_for: said.unwrap_or(settings.hold_for),
        }
    }

    /// How many of so many may be replaced at a time.
    pub(super) fn max_replacements(&self, of: usize) -> usize {
        at_least_one_of(of, self.replace_at_once)
    }
}

/// What is not held against the infrastructure any more.
#[derive(Default)]
pub(super) struct HoldPolicy {
    released: HashSet<String>,
}

/// What the last survey found dead, among how many.
pub(super) struct DeathTally<'a> {
    pub(super) deaths: &'a HashMap<String, Death>,
    pub(super) surveyed: usize,
}

impl HoldPolicy {
    /// Lets everything be replaced that looks dead now.
    pub(super) fn release(&mut self, deaths: &HashMap<String, Death>) {
        self.released.extend(deaths.keys().cloned());
    }

    /// Whether none of what was released is left to be replaced.
    pub(super) fn is_release_complete(&self, deaths: &HashMap<String, Death>, healing: &HealingJobs) -> bool {
        !self.released.iter().any(|id| deaths.contains_key(id) || healing.is_claimed(id))
    }

    /// Whether nothing is to be replaced: so many of so many look dead. What its cloud has called dead for long enough does not
    /// count.
    pub(super) fn evaluate<'a>(
        &mut self,
        bounds: &HealingLimits,
        dead: &DeathTally<'_>,
        healing: &HealingJobs,
        record: impl Fn(&str) -> Option<&'a InstanceRecord>,
        now: Timestamp,
    ) -> Option<(usize, usize)> {
        self.released.retain(|id| dead.deaths.contains_key(id) || healing.is_claimed(id));
        if !bounds.hold_for.is_zero() {
            let is_affirmed = |record: &InstanceRecord| {
                record.is_observed_dead()
                    && record.unobserved.is_none()
                    && elapsed(record.since, now) >= bounds.hold_for
            };
            let affirmed = dead.deaths.keys().filter(|id| record(id).is_some_and(is_affirmed));
            self.released.extend(affirmed.cloned());
        }
        let looking = dead.deaths.keys().filter(|id| !self.released.contains(*id)).count();
        let replaced_freely = self.released.iter().filter(|id| healing.is_claimed(id)).count();
        let replacing = healing.replacements();
        let (count, of) = (looking + replacing.saturating_sub(replaced_freely), dead.surveyed + replacing);
        (looking > 0 && count > at_least_one_of(of, bounds.hold_above)).then_some((count, of))
    }
}

/// A part of all, but at least one.
fn at_least_one_of(total: usize, part: f64) -> usize {
    ((total as f64 * part).floor() as usize).max(1)
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
