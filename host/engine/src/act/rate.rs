//! How many calls a cloud takes, learned from its answers. Pure arithmetic: answers and times come in, numbers go out.
//!
//! A refusal for too many calls narrows: half as many calls at a time, and a pace just below what was accepted lately. Then the
//! pace grows along the curve of CUBIC (RFC 9438): soon back to what was accepted, slowly past it, and fast when nothing is
//! refused there either. Where nothing at all was accepted there is nothing to aim at: the pace doubles until something is refused.

use std::collections::VecDeque;
use std::time::Duration;

/// So many accepted calls are remembered, with their times.
const REMEMBERED: usize = 64;
/// Seconds after which the curve is back at its base, from four fifths of it: the third root of `0.2 / STEEPNESS`.
const PLATEAU: f64 = 5.848;
const STEEPNESS: f64 = 0.001;
/// Seconds in which the pace doubles while there is nothing to aim at.
const DOUBLING: f64 = 1.0;
/// The part of the pace that was accepted at least, when it had been doubling.
const FOUND: f64 = 0.9;
/// Calls in a second, at least: of a cloud that accepts some, and of one that accepts none.
const SLOWEST: f64 = 0.05;
const SLOWEST_PROBE: f64 = 0.5;
/// Calls in a second to begin with, when none was accepted.
const FIRST_PROBE: f64 = 2.0;
/// The limit is lifted when the pace has grown so many times without a refusal.
const LIFTED_AT: f64 = 15.0;

/// What was accepted lately.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    times: VecDeque<Duration>,
}

impl Accepted {
    pub(super) fn note(&mut self, now: Duration) {
        if self.times.len() == REMEMBERED {
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
            Some(first) if recent == REMEMBERED => refused.saturating_sub(*first).as_secs_f64().max(0.01),
            _ => seconds,
        };
        recent as f64 / span + open as f64 / seconds
    }
}

/// The limit of a cloud that refused calls.
#[derive(Debug)]
pub(super) struct Rate {
    /// Calls at a time.
    window: f64,
    /// What the pace is about, in calls in a second.
    base: f64,
    /// The base is what was accepted of calls that came at a pace, and not at once as before the first refusal.
    aimed: bool,
    /// Where the curve began. None while it is not known what was accepted: some of it may be on its way.
    since: Option<Duration>,
    /// When it was narrowed.
    refused: Duration,
    /// No call begins before.
    next: Duration,
}

impl Rate {
    /// The limit after the first refusal, with so many calls on their way.
    pub(super) fn new(in_flight: usize) -> Self {
        let (base, refused, next) = (f64::INFINITY, Duration::ZERO, Duration::ZERO);
        Self { window: in_flight as f64, base, aimed: false, since: None, refused, next }
    }

    /// Half as many calls at a time, and none for a while.
    pub(super) fn narrow(&mut self, now: Duration, in_flight: usize, pause: Duration) {
        self.window = (self.window.min(in_flight as f64) / 2.0).max(1.0);
        self.refused = now;
        if let Some(since) = self.since.take() {
            self.base = self.pace(now.saturating_sub(since));
        }
        self.hold(now, pause);
    }

    /// No call begins for a while.
    pub(super) fn hold(&mut self, now: Duration, pause: Duration) {
        self.next = self.next.max(now.saturating_add(pause));
    }

    /// A call was accepted.
    pub(super) fn widen(&mut self) {
        self.window += 0.5;
    }

    /// How long the next call has to wait for its time; none when it has to wait for another to end.
    pub(super) fn wait(&self, now: Duration, in_flight: usize) -> Option<Duration> {
        ((in_flight as f64) < self.window.floor()).then(|| self.next.saturating_sub(now))
    }

    /// A call begins.
    pub(super) fn begin(&mut self, now: Duration, accepted: &Accepted, in_flight: usize) {
        let since = match self.since {
            Some(since) => since,
            None => {
                self.aim(accepted, in_flight);
                now
            }
        };
        self.since = Some(since);
        let pace = self.pace(now.saturating_sub(since));
        self.next = now.saturating_add(Duration::from_secs_f64(1.0 / pace));
    }

    /// Whether nothing was refused for long, at `most` calls at a time.
    pub(super) fn is_over(&self, now: Duration, most: usize) -> bool {
        let Some(since) = self.since else { return false };
        self.window >= most as f64 && self.pace(now.saturating_sub(since)) > LIFTED_AT * self.base
    }

    fn aim(&mut self, accepted: &Accepted, in_flight: usize) {
        // Of a slow cloud, long enough to see some.
        let seconds = (8.0 / self.base).clamp(1.0, 30.0);
        let rate = accepted.rate(self.refused, seconds, in_flight);
        let was_aimed = std::mem::replace(&mut self.aimed, rate > 0.0 && self.base.is_finite());
        self.base = if rate == 0.0 {
            (self.base / 2.0).clamp(SLOWEST_PROBE, FIRST_PROBE)
        } else if self.base.is_infinite() {
            rate.max(FIRST_PROBE)
        } else if was_aimed {
            rate.min(self.base).max(SLOWEST)
        } else {
            // While the pace doubled, less was accepted than could have been.
            rate.max(self.base * FOUND).min(self.base).max(SLOWEST)
        };
    }

    fn pace(&self, passed: Duration) -> f64 {
        // Beyond an hour it makes no difference.
        let seconds = passed.as_secs_f64().min(3600.0);
        match self.aimed {
            true => self.base * (1.0 + STEEPNESS * (seconds - PLATEAU).powi(3)),
            false => self.base * (seconds / DOUBLING).min(30.0).exp2(),
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
    fn calls(rate: &mut Rate, accepted: &mut Accepted, from: f64, seconds: f64) -> usize {
        let (mut now, mut number) = (at(from), 0);
        while let Some(wait) = rate.wait(now, 0) {
            now += wait;
            if now >= at(from + seconds) {
                break;
            }
            rate.begin(now, accepted, 0);
            rate.widen();
            accepted.note(now);
            number += 1;
        }
        number
    }

    #[test]
    fn the_pace_is_found_stays_just_below_what_was_accepted_and_then_grows() {
        let (mut accepted, mut rate) = (Accepted::default(), Rate::new(32));
        rate.narrow(at(0.0), 20, at(0.5));
        assert_eq!(rate.wait(at(1.0), 9), Some(Duration::ZERO));
        assert_eq!(rate.wait(at(1.0), 10), None, "half of twenty at a time");
        // It doubles every second from two calls a second.
        let found = calls(&mut rate, &mut accepted, 1.0, 3.0);
        assert!((15..25).contains(&found), "{found} calls in 3 s");
        // Refused at sixteen.
        rate.narrow(at(4.0), 20, at(0.0));
        let first = calls(&mut rate, &mut accepted, 4.0, 5.0);
        assert!((60..75).contains(&first), "{first} calls in 5 s at 14 a second");
        let later = calls(&mut rate, &mut accepted, 29.0, 5.0);
        assert!(later > 400, "{later} calls in 5 s, half a minute after the last refusal");
        assert!(rate.is_over(at(40.0), 32));
    }

    #[test]
    fn a_cloud_that_accepts_nothing_is_asked_every_two_seconds_at_least() {
        let (accepted, mut rate) = (Accepted::default(), Rate::new(32));
        let (mut now, mut number) = (Duration::ZERO, 0);
        rate.narrow(now, 32, at(0.5));
        while now < at(60.0) {
            now += rate.wait(now, 0).unwrap();
            rate.begin(now, &accepted, 0);
            rate.narrow(now, 1, at(0.5));
            number += 1;
        }
        // Every call was refused at once, so each waits for the pause or the pace, whichever is longer.
        assert!((28..40).contains(&number), "{number} calls in a minute");
    }

    #[test]
    fn what_the_cloud_asks_for_is_kept() {
        let mut rate = Rate::new(4);
        rate.narrow(at(1.0), 4, at(20.0));
        rate.hold(at(2.0), at(1.0));
        assert_eq!(rate.wait(at(2.0), 0), Some(at(19.0)));
    }

    #[test]
    fn calls_on_their_way_are_not_refused() {
        let mut rate = Rate::new(32);
        rate.narrow(at(1.0), 32, at(0.5));
        let mut number = 0;
        let mut now = at(1.5);
        while now < at(2.5) {
            rate.begin(now, &Accepted::default(), 31);
            now += rate.wait(now, 0).unwrap();
            number += 1;
        }
        assert!(number > 20, "{number}: one refusal among many slow calls costs little");
    }
}
