//! Durations as text.

use std::time::Duration;

use jiff::Timestamp;

/// Formats a duration: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
pub(crate) fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if seconds < 10 {
        format!("{:.1} s", (duration.as_secs_f64() * 10.0).floor() / 10.0)
    } else if seconds < 60 {
        format!("{seconds} s")
    } else if seconds < 3600 {
        format!("{minutes} min {} s", seconds % 60)
    } else if seconds < 86_400 {
        format!("{hours} h {minutes} min")
    } else {
        format!("{days} d {hours} h")
    }
}

/// Returns the time since `then`; zero if it lies in the future.
pub(crate) fn time_since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_exact_as_people_need() {
        let format = |millis| format_duration(Duration::from_millis(millis));
        assert_eq!(format(0), "0.0 s");
        assert_eq!(format(449), "0.4 s");
        assert_eq!(format(9_990), "9.9 s");
        assert_eq!(format(59_999), "59 s");
        assert_eq!(format(185_000), "3 min 5 s");
        assert_eq!(format(7_800_000), "2 h 10 min");
        assert_eq!(format(273_600_000), "3 d 4 h");
    }

    #[test]
    fn a_clock_that_went_back_gives_zero() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(time_since(now, now + jiff::SignedDuration::from_secs(5)), Duration::ZERO);
        assert_eq!(time_since(now + jiff::SignedDuration::from_secs(5), now), Duration::from_secs(5));
    }
}
