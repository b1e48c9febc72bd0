//! Rendering of times, states and path segments in pages.

use std::fmt;

use askama::filters::HtmlSafe;
use jiff::Timestamp;
use occopus::graph::tone::Tone;

/// A time, shown as its age. The script updates it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RelativeTime {
    now: Timestamp,
    then: Timestamp,
}

impl RelativeTime {
    pub(super) fn new(now: Timestamp, then: Timestamp) -> Self {
        Self { now, then }
    }
}

impl fmt::Display for RelativeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (iso, exact) = (self.then, utc_text(self.then));
        let seconds = self.now.duration_since(self.then).as_secs();
        write!(f, "<time datetime=\"{iso:.0}\" title=\"{exact}\" data-ago>{}</time>", age_text(seconds))
    }
}

impl HtmlSafe for RelativeTime {}

/// A time, shown in UTC. The script shows it in the time zone of the browser.
#[derive(Debug, Clone, Copy)]
pub(super) struct AbsoluteTime(pub(super) Timestamp);

impl fmt::Display for AbsoluteTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<time datetime=\"{:.3}\" data-exact>{}</time>", self.0, utc_text(self.0))
    }
}

impl HtmlSafe for AbsoluteTime {}

/// Returns an age as `12 s ago`, `5 min ago`, `3 h ago` or `4 d ago`. The script has the same rule.
pub(super) fn age_text(seconds: i64) -> String {
    match seconds {
        ..1 => "now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// Returns a duration as `0.4 s`, `75 s` or `5 min`.
pub(super) fn duration_text(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

fn utc_text(time: Timestamp) -> impl fmt::Display {
    time.strftime("%Y-%m-%d %H:%M:%S UTC")
}

/// A state, shown as a word with a colour.
#[derive(Debug, Clone)]
pub(super) struct StateLabel(pub(super) Tone, pub(super) String);

impl StateLabel {
    pub(super) fn new(tone: Tone, word: impl fmt::Display) -> Self {
        Self(tone, word.to_string())
    }
}

impl fmt::Display for StateLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"state {}\">", self.0.class())?;
        askama::filters::escape(&self.1, askama::filters::Html).map_err(|_| fmt::Error)?.fmt(f)?;
        f.write_str("</span>")
    }
}

impl HtmlSafe for StateLabel {}

/// Returns a text, percent-encoded as one segment of a URL's path.
pub(super) fn path_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => segment.push(char::from(byte)),
            _ => segment += &format!("%{byte:02X}"),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        for (seconds, expected) in
            [(-5, "now"), (0, "now"), (59, "59 s ago"), (60, "1 min ago"), (90_000, "25 h ago"), (172_800, "2 d ago")]
        {
            assert_eq!(age_text(seconds), expected);
        }
        let when =
            RelativeTime::new("2026-01-02T03:04:05Z".parse().unwrap(), "2026-01-02T03:04:00.5Z".parse().unwrap());
        let html = "<time datetime=\"2026-01-02T03:04:00Z\" title=\"2026-01-02 03:04:00 UTC\" data-ago>4 s ago</time>";
        assert_eq!(when.to_string(), html);
    }

    #[test]
    fn states_and_segments_are_escaped() {
        assert_eq!(StateLabel::new(Tone::Bad, "<b>").to_string(), "<span class=\"state bad\">&#60;b&#62;</span>");
        assert_eq!(path_segment("a/b ?é"), "a%2Fb%20%3F%C3%A9");
    }
}
