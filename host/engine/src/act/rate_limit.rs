//! The number and rate of calls that a cloud accepts, learned from its answers. Pure arithmetic: answers and times come
//! in, numbers go out.
//!
//! A refusal for too many calls reduces the limit: half as many concurrent calls, and a pace just below that of the
//! calls accepted lately. Then the pace grows along the curve of CUBIC (RFC 9438): soon back to what was accepted,
//! slowly past it, and fast if nothing is refused there either. If no call at all was accepted, there is no base: the
//! pace doubles until a call is refused.

use std::collections::VecDeque;
use std::time::Duration;

/// Number of accepted calls that are remembered, with their times.
const MAX_REMEMBERED_CALLS: usize = 64;
/// Seconds after which the curve is back at its base, from four fifths of it: the third root of `0.2 / STEEPNESS`.
const PLATEAU_SECONDS: f64 = 5.848;
const CURVE_STEEPNESS: f64 = 0.001;
/// Seconds in which the pace doubles while its base is not measured.
const DOUBLING_SECONDS: f64 = 1.0;
/// Smallest share of the pace that counts as accepted after it had been doubling.
const MIN_ACCEPTED_SHARE: f64 = 0.9;
/// Lowest pace for a cloud that accepts some calls, in calls per second.
const MIN_CALLS_PER_SECOND: f64 = 0.05;
/// Lowest pace for a cloud that accepts no calls, in calls per second.
const MIN_PROBES_PER_SECOND: f64 = 0.5;
/// First pace if no call was accepted, in calls per second.
const INITIAL_PROBES_PER_SECOND: f64 = 2.0;
/// Growth of the pace over its base, without a refusal, at which the limit is lifted.
const LIFT_FACTOR: f64 = 15.0;

/// Times of the calls that were accepted lately.
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

    /// Returns the calls per second over the `seconds` before a refusal. The calls `in_flight` count as accepted.
    fn rate(&self, refused_at: Duration, seconds: f64, in_flight: usize) -> f64 {
        let from = refused_at.saturating_sub(Duration::from_secs_f64(seconds));
        let recent = self.times.iter().filter(|time| **time > from).count();
        let span = match self.times.front() {
            // Older calls are forgotten, so there were more than can be counted.
            Some(first) if recent == MAX_REMEMBERED_CALLS => refused_at.saturating_sub(*first).as_secs_f64().max(0.01),
            _ => seconds,
        };
        recent as f64 / span + in_flight as f64 / seconds
    }
}

/// The limit of a cloud that refused calls.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// Number of concurrent calls.
    window: f64,
    /// Base of the pace, in calls per second.
    base_pace: f64,
    /// Set if the base was measured on calls that began at a limited pace, unlike those before the first refusal.
    is_base_measured: bool,
    /// Start of the curve. `None` while the accepted calls are not known, since answers may be on their way.
    curve_start: Option<Duration>,
    /// Time of the refusal that last reduced the limit.
    refused_at: Duration,
    /// Time before which no call begins.
    next_at: Duration,
}

impl RateLimit {
    /// Creates the limit at the first refusal, with `in_flight` calls under way.
    pub(super) fn new(in_flight: usize) -> Self {
        Self {
            window: in_flight as f64,
            base_pace: f64::INFINITY,
            is_base_measured: false,
            curve_start: None,
            refused_at: Duration::ZERO,
            next_at: Duration::ZERO,
        }
    }

    /// Halves the number of concurrent calls, and lets none begin for `pause`.
    pub(super) fn on_refused(&mut self, now: Duration, in_flight: usize, pause: Duration) {
        self.window = (self.window.min(in_flight as f64) / 2.0).max(1.0);
        self.refused_at = now;
        if let Some(since) = self.curve_start.take() {
            self.base_pace = self.pace(now.saturating_sub(since));
        }
        self.pause_for(now, pause);
    }

    /// Lets no call begin for `pause`.
    pub(super) fn pause_for(&mut self, now: Duration, pause: Duration) {
        self.next_at = self.next_at.max(now.saturating_add(pause));
    }

    /// Widens the limit after an accepted call.
    pub(super) fn on_accepted(&mut self) {
        self.window += 0.5;
    }

    /// Returns how long the next call has to wait; `None` if it has to wait until another call ends.
    pub(super) fn wait(&self, now: Duration, in_flight: usize) -> Option<Duration> {
        ((in_flight as f64) < self.window.floor()).then(|| self.next_at.saturating_sub(now))
    }

    /// Computes the time of the next call when one begins.
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

    /// Returns whether no call was refused for long, with `max_in_flight` calls allowed at a time.
    pub(super) fn can_be_lifted(&self, now: Duration, max_in_flight: usize) -> bool {
        let Some(since) = self.curve_start else { return false };
        self.window >= max_in_flight as f64 && self.pace(now.saturating_sub(since)) > LIFT_FACTOR * self.base_pace
    }

    fn update_base(&mut self, accepted: &AcceptedCalls, in_flight: usize) {
        // Longer for a slow cloud, so that some calls fall into it.
        let seconds = (8.0 / self.base_pace).clamp(1.0, 30.0);
        let rate = accepted.rate(self.refused_at, seconds, in_flight);
        let was_measured = std::mem::replace(&mut self.is_base_measured, rate > 0.0 && self.base_pace.is_finite());
        self.base_pace = if rate == 0.0 {
            (self.base_pace / 2.0).clamp(MIN_PROBES_PER_SECOND, INITIAL_PROBES_PER_SECOND)
        } else if self.base_pace.is_infinite() {
            rate.max(INITIAL_PROBES_PER_SECOND)
        } else if was_measured {
            rate.min(self.base_pace).max(MIN_CALLS_PER_SECOND)
        } else {
            // While the pace doubled, fewer calls were accepted than could have been.
            rate.max(self.base_pace * MIN_ACCEPTED_SHARE).min(self.base_pace).max(MIN_CALLS_PER_SECOND)
        };
    }

    fn pace(&self, passed: Duration) -> f64 {
        // Beyond an hour there is no difference.
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

    /// Makes one call after the other, each as early as possible; returns how many began within `seconds`.
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
