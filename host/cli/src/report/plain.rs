//! Progress as lines, for files and pipes.

use std::collections::HashMap;
use std::time::Instant;

use occopus_engine::{Event, EventKind};

use crate::terminal::is_terminal_control;

/// A converter of events into lines that leaves out repetitions.
#[derive(Debug, Default)]
pub(crate) struct EventLines {
    /// Time of the first event. Not by the times of events, since the clock may be set.
    began: Option<Instant>,
    /// Last line of each node.
    last_lines: HashMap<String, String>,
}

impl EventLines {
    /// Returns the line for an event; none if it repeats the last line of its node.
    pub(crate) fn line(&mut self, event: &Event) -> Option<String> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let text = one_line(&event.to_string());
        if let Some(node) = event.kind.node_name() {
            let repeats = matches!(event.kind, EventKind::Waiting { .. } | EventKind::Progress { .. });
            if repeats && self.last_lines.get(node) == Some(&text) {
                return None;
            }
            self.last_lines.insert(node.to_owned(), text.clone());
        }
        let seconds = began.elapsed().as_secs_f64();
        Some(format!("{seconds:7.1} s  {text}"))
    }
}

/// Quotes lines that a machine wrote, indented. Control characters are escaped.
pub(crate) fn quote_output(output: &str) -> String {
    let escape = |line: &str| {
        let mut escaped = String::with_capacity(line.len());
        line.chars().for_each(|character| push_printable(&mut escaped, character));
        escaped
    };
    let lines: Vec<_> = output.lines().map(|line| format!("  | {}", escape(line))).collect();
    lines.join("\n")
}

/// Returns text of clouds and checks as one line, with control characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut characters = text.trim_end().chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => line.push_str("; "),
            '\t' => line.push(' '),
            // The other half of a line break.
            '\r' if characters.peek() == Some(&'\n') => {}
            other => push_printable(&mut line, other),
        }
    }
    line
}

/// Appends a character; a control character is escaped by its number.
fn push_printable(text: &mut String, character: char) {
    if is_terminal_control(character) { text.extend(character.escape_unicode()) } else { text.push(character) }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { id: None, time: Timestamp::UNIX_EPOCH, infra_id: "i".into(), kind }
    }

    fn waiting(message: &str) -> Event {
        event(EventKind::Waiting { node_id: "n".into(), node_name: "web".into(), message: message.into() })
    }

    #[test]
    fn repeated_lines_are_left_out() {
        let mut lines = EventLines::default();
        assert_eq!(
            lines.line(&waiting("port 80: refused")).as_deref(),
            Some("    0.0 s  web: waiting: port 80: refused")
        );
        assert_eq!(lines.line(&waiting("port 80: refused")), None);
        assert!(lines.line(&waiting("port 80: timed out")).is_some());
        assert!(lines.line(&waiting("port 80: refused")).is_some());
    }

    #[test]
    fn a_clock_that_is_set_does_not_move_the_times_of_lines() {
        let mut lines = EventLines::default();
        let mut at = |seconds: i64| {
            let time = Timestamp::from_second(seconds).expect("a time");
            let kind =
                EventKind::Waiting { node_id: "n".into(), node_name: "web".into(), message: seconds.to_string() };
            lines.line(&Event { id: None, time, infra_id: "i".into(), kind }).expect("a line")
        };
        for seconds in [10_000, 13_600, 6_400] {
            assert!(at(seconds).starts_with("    0.0 s"));
        }
    }

    #[test]
    fn text_becomes_one_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[2J\tc\u{202e}\rd\r\n"), "a; b\\u{1b}[2J c\\u{202e}\\u{d}d");
    }

    #[test]
    fn control_characters_in_output_are_escaped() {
        assert_eq!(quote_output("a\r\n\u{1b}[1Ab\tc\u{9b}"), "  | a\n  | \\u{1b}[1Ab\tc\\u{9b}");
    }
}
