//! Times of the passes.

use std::time::Duration;

use super::observed::SurveyWindow;

/// Shortest pause between two passes.
const MIN_PASS_PAUSE: Duration = Duration::from_millis(100);

/// Times of the passes, as uptimes: when the next one begins, and how long its survey may take.
pub(super) struct Timetable {
    /// Time from one pass to the next; none if there is only one.
    interval: Option<Duration>,
    /// Time over which the next survey spreads its health checks.
    spread: Duration,
    begun: Duration,
    /// End of the last complete survey.
    last_survey: Duration,
}

impl Timetable {
    pub(super) fn new(interval: Option<Duration>, now: Duration) -> Self {
        Self { interval, spread: Duration::ZERO, begun: now, last_survey: now }
    }

    /// Begins a pass; returns the time that its survey has.
    pub(super) fn begin_pass(&mut self, now: Duration) -> SurveyWindow {
        self.begun = now;
        // Frequent requests must not keep surveys from being completed.
        let since_survey = now.saturating_sub(self.last_survey);
        let is_interruptible = self.interval.is_some_and(|interval| since_survey < interval * 2);
        SurveyWindow { spread: self.spread, is_interruptible }
    }

    /// Notes a complete survey.
    pub(super) fn note_survey(&mut self, now: Duration) {
        self.last_survey = now;
    }

    /// Returns the pause before the next pass; `None` if there is none.
    pub(super) fn pause(&self, now: Duration) -> Option<Duration> {
        let passed = now.saturating_sub(self.begun);
        Some(self.interval?.saturating_sub(passed).max(MIN_PASS_PAUSE))
    }

    /// Notes how a pause ended: a pass after a wake signal is in a hurry, others take their time.
    pub(super) fn note_pause(&mut self, end: PauseEnd) {
        self.spread = match end {
            PauseEnd::Woken => Duration::ZERO,
            PauseEnd::Elapsed => self.interval.unwrap_or_default(),
        };
    }
}

/// The end of a pause between two passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PauseEnd {
    Elapsed,
    Woken,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn passes_follow_each_other_and_a_woken_one_is_in_a_hurry() {
        let mut times = Timetable::new(Some(seconds(10)), seconds(100));
        let window = times.begin_pass(seconds(100));
        assert_eq!((window.spread, window.is_interruptible), (Duration::ZERO, true));
        assert_eq!(times.pause(seconds(103)), Some(seconds(7)));
        assert_eq!(times.pause(seconds(120)), Some(MIN_PASS_PAUSE));
        times.note_pause(PauseEnd::Elapsed);
        assert_eq!(times.begin_pass(seconds(110)).spread, seconds(10));
        times.note_pause(PauseEnd::Woken);
        assert_eq!(times.begin_pass(seconds(112)).spread, Duration::ZERO);
        // Twice the interval without a complete survey.
        assert!(!times.begin_pass(seconds(120)).is_interruptible);
        times.note_survey(seconds(121));
        assert!(times.begin_pass(seconds(122)).is_interruptible);
    }

    #[test]
    fn a_single_pass_has_no_pause_and_is_not_cut_short() {
        let mut times = Timetable::new(None, seconds(0));
        assert!(!times.begin_pass(seconds(0)).is_interruptible);
        assert_eq!(times.pause(seconds(1)), None);
    }
}
