//! How many calls a cloud takes, learned from its answers. Pure arithmetic: answers and times come in, numbers go out.
//!
//! A refusal for too many calls narrows: half as many calls at a time, and a pace just below what was accepted lately. Then the
//! pace grows along the curve of CUBIC (RFC 9438): soon back to what was accepted, slowly past it, and fast when nothing is
//! refused there either. Where nothing at all was accepted there is nothing to aim at: the pace doubles until something is refused.

use std::collections::VecDeque;
use std::time::Duration;

/// So many accepted calls are remembered, with their times.
const MAX_REMEMBERED_CALLS: usize = 64;
/// Seconds after which the curve is back at its base, from four fifths of it: the third root of `0.2 / STEEPNESS`.
const PLATEAU_SECONDS: f64 = 5.848;
const CURVE_STEEPNESS: f64 = 0.001;
/// Seconds in which the pace doubles while there is nothing to aim at.
const DOUBLING_SECONDS: f64 = 1.0;
/// The part of the pace that was accepted at least, when it had been doubling.
const MIN_ACCEPTED_SHARE: f64 = 0.9;
/// Calls in a second, at least: of a cloud that accepts some, and of one that accepts none.
const MIN_CALLS_PER_SECOND: f64 = 0.05;
const MIN_PROBES_PER_SECOND: f64 = 0.5;
/// Calls in a second to begin with, when none was accepted.
const INITIAL_PROBES_PER_SECOND: f64 = 2.0;
/// The limit is lifted when the pace has grown so many times without a refusal.
const LIFT_FACTOR: f64 = 15.0;

/// What was accepted lately.
#[derive(Debug, Default)]
pub(super) struct AcceptedCalls {
    times: VecDeque<Duration>,
}

impl AcceptedCalls {
    pub(super) fn record(&mut self, now: Duration) {
        if self.times.len() == MAX_REMEMBERED_CALLS {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }

    /// Calls in a second over the `seconds` before a refusal; `open` ones have not been refused either.
    fn rate(&self, refused: Duration, seconds: f64, open: usize) -> f64 {
        let from = refused.saturating_sub(Duration::from_secs_f64(seconds));
        let recent = self.times.iter().filter(|time| **time > from).count();
        let span = match self.times.front() {
            // Older ones are forgotten, so there were more of them than can be counted.
            Some(first) if recent == MAX_REMEMBERED_CALLS => refused.saturating_sub(*first).as_secs_f64().max(0.01),
            _ => seconds,
        };
        recent as f64 / span + open as f64 / seconds
    }
}

/// The limit of a cloud that refused calls.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// Calls at a time.
    window: f64,
    /// What the pace is about, in calls in a second.
    base_pace: f64,
    /// The base is what was accepted of calls that came at a pace, and not at once as before the first refusal.
    is_base_measured: bool,
    /// Where the curve began. None while it is not known what was accepted: some of it may be on its way.
    curve_start: Option<Duration>,
    /// When it was narrowed.
    refused_at: Duration,
    /// No call begins before.
    next_at: Duration,
}

impl RateLimit {
    /// The limit after the first refusal, with so many calls on their way.
    pub(super) fn new(in_flight: usize) -> Self {
        let (base, refused, next) = (f64::INFINITY, Duration::ZERO, Duration::ZERO);
        Self {
            window: in_flight as f64,
            base_pace: base,
            is_base_measured: false,
            curve_start: None,
            refused_at: refused,
            next_at: next,
        }
    }

    /// Half as many calls at a time, and none for a while.
    pub(super) fn on_refused(&mut self, now: Duration, in_flight: usize, pause: Duration) {
        self.window = (self.window.min(in_flight as f64) / 2.0).max(1.0);
        self.refused_at = now;
        if let Some(since) = self.curve_start.take() {
            self.base_pace = self.pace(now.saturating_sub(since));
        }
        self.pause_for(now, pause);
    }

    /// No call begins for a while.
    pub(super) fn pause_for(&mut self, now: Duration, pause: Duration) {
        self.next_at = self.next_at.max(now.saturating_add(pause));
    }

    /// A call was accepted.
    pub(super) fn on_accepted(&mut self) {
        self.window += 0.5;
    }

    /// How long the next call has to wait for its time; none when it has to wait for another to end.
    pub(super) fn wait(&self, now: Duration, in_flight: usize) -> Option<Duration> {
        ((in_flight as f64) < self.window.floor()).then(|| self.next_at.saturating_sub(now))
    }

    /// A call begins.
    pub(super) fn on_begin(&mut self, now: Duration, accepted: &AcceptedCalls, in_flight: usize) {
        let since = match self.curve_start {
            Some(since) => since,
            None => {
                self.update_base(accepted, in_flight);
                now
            }
        };
        self.curve_start = Some(since);
        let pace = self.pace(now.saturating_sub(since));
        self.next_at = now.saturating_add(Duration::from_secs_f64(1.0 / pace));
    }

    /// Whether nothing was refused for long, at `most` calls at a time.
    pub(super) fn can_be_lifted(&self, now: Duration, most: usize) -> bool {
        let Some(since) = self.curve_start else { return false };
        self.window >= most as f64 && self.pace(now.saturating_sub(since)) > LIFT_FACTOR * self.base_pace
    }

    fn update_base(&mut self, accepted: &AcceptedCalls, in_flight: usize) {
        // Of a slow cloud, long enough to see some.
        let seconds = (8.0 / self.base_pace).clamp(1.0, 30.0);
        let rate = accepted.rate(self.refused_at, seconds, in_flight);
        let was_aimed = std::mem::replace(&mut self.is_base_measured, rate > 0.0 && self.base_pace.is_finite());
        self.base_pace = if rate == 0.0 {
            (self.base_pace / 2.0).clamp(MIN_PROBES_PER_SECOND, INITIAL_PROBES_PER_SECOND)
        } else if self.base_pace.is_infinite() {
            rate.max(INITIAL_PROBES_PER_SECOND)
        } else if was_aimed {
            rate.min(self.base_pace).max(MIN_CALLS_PER_SECOND)
        } else {
            // While the pace doubled, less was accepted than could have been.
            rate.max(self.base_pace * MIN_ACCEPTED_SHARE).min(self.base_pace).max(MIN_CALLS_PER_SECOND)
        };
    }

    fn pace(&self, passed: Duration) -> f64 {
        // Beyond an hour it makes no difference.
        let seconds = passed.as_secs_f64().min(3600.0);
        match self.is_base_measured {
            true => self.base_pace * (1.0 + CURVE_STEEPNESS * (seconds - PLATEAU_SECONDS).powi(3)),
            false => self.base_pace * (seconds / DOUBLING_SECONDS).min(30.0).exp2(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Calls one after the other, as early as they may; how many began within `seconds`.
    fn calls(rate: &mut RateLimit, accepted: &mut AcceptedCalls, from: f64, seconds: f64) -> usize {
        let (mut now, mut number) = (at(from), 0);
        while let Some(wait) = rate.wait(now, 0) {
            now += wait;
            if now >= at(from + seconds) {
                break;
            }
            rate.on_begin(now, accepted, 0);
            rate.on_accepted();
            accepted.record(now);
            number += 1;
        }
        number
    }

    #[test]
    fn the_pace_is_found_stays_just_below_what_was_accepted_and_then_grows() {
        let (mut accepted, mut rate) = (AcceptedCalls::default(), RateLimit::new(32));
        rate.on_refused(at(0.0), 20, at(0.5));
        assert_eq!(rate.wait(at(1.0), 9), Some(Duration::ZERO));
        assert_eq!(rate.wait(at(1.0), 10), None, "half of twenty at a time");
        // It doubles every second from two calls a second.
        let found = calls(&mut rate, &mut accepted, 1.0, 3.0);
        assert!((15..25).contains(&found), "{found} calls in 3 s");
        // Refused at sixteen.
        rate.on_refused(at(4.0), 20, at(0.0));
        let first = calls(&mut rate, &mut accepted, 4.0, 5.0);
        assert!((60..75).contains(&first), "{first} calls in 5 s at 14 a second");
        let later = calls(&mut rate, &mut accepted, 29.0, 5.0);
        assert!(later > 400, "{later} calls in 5 s, half a minute after the last refusal");
        assert!(rate.can_be_lifted(at(40.0), 32));
    }

    #[test]
    fn a_cloud_that_accepts_nothing_is_asked_every_two_seconds_at_least() {
        let (accepted, mut rate) = (AcceptedCalls::default(), RateLimit::new(32));
        let (mut now, mut number) = (Duration::ZERO, 0);
        rate.on_refused(now, 32, at(0.5));
        while now < at(60.0) {
            now += rate.wait(now, 0).unwrap();
            rate.on_begin(now, &accepted, 0);
            rate.on_refused(now, 1, at(0.5));
            number += 1;
        }
        // Every call was refused at once, so each waits for the pause or the pace, whichever is longer.
        assert!((28..40).contains(&number), "{number} calls in a minute");
    }

    #[test]
    fn what_the_cloud_asks_for_is_kept() {
        let mut rate = RateLimit::new(4);
        rate.on_refused(at(1.0), 4, at(20.0));
        rate.pause_for(at(2.0), at(1.0));
        assert_eq!(rate.wait(at(2.0), 0), Some(at(19.0)));
    }

    #[test]
    fn calls_on_their_way_are_not_refused() {
        let mut rate = RateLimit::new(32);
        rate.on_refused(at(1.0), 32, at(0.5));
        let mut number = 0;
        let mut now = at(1.5);
        while now < at(2.5) {
            rate.on_begin(now, &AcceptedCalls::default(), 31);
            now += rate.wait(now, 0).unwrap();
            number += 1;
        }
        assert!(number > 20, "{number}: one refusal among many slow calls costs little");
    }
}
