//! Progress as lines, for files and pipes.

use std::collections::HashMap;
use std::time::Instant;

use occopus_engine::{Event, EventKind};

use crate::terminal::is_terminal_control;

/// Turns events into lines, without saying the same thing twice.
#[derive(Debug, Default)]
pub(crate) struct EventLines {
    /// Not by the times of events, since the clock may be set.
    began: Option<Instant>,
    /// What was said last about a node.
    last_lines: HashMap<String, String>,
}

impl EventLines {
    /// The line for an event; none when it says nothing new.
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

/// Lines that a machine wrote, indented. What would do something to a terminal is shown by its number.
pub(crate) fn quote_output(output: &str) -> String {
    let shown = |line: &str| {
        let mut shown = String::with_capacity(line.len());
        line.chars().for_each(|character| push_printable(&mut shown, character));
        shown
    };
    let lines: Vec<_> = output.lines().map(|line| format!("  | {}", shown(line))).collect();
    lines.join("\n")
}

/// Text of clouds and checks as one line. It may hold anything, and nothing of it may move the cursor.
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

/// Adds a character, or the number of one on which a terminal acts.
fn push_printable(shown: &mut String, character: char) {
    if is_terminal_control(character) { shown.extend(character.escape_unicode()) } else { shown.push(character) }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn event(what: EventKind) -> Event {
        Event { id: None, time: Timestamp::UNIX_EPOCH, infra_id: "i".into(), kind: what }
    }

    fn waiting(message: &str) -> Event {
        event(EventKind::Waiting { node_id: "n".into(), node_name: "web".into(), message: message.into() })
    }

    #[test]
    fn what_is_said_again_is_left_out() {
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
            let what =
                EventKind::Waiting { node_id: "n".into(), node_name: "web".into(), message: seconds.to_string() };
            lines.line(&Event { id: None, time, infra_id: "i".into(), kind: what }).expect("a line")
        };
        for seconds in [10_000, 13_600, 6_400] {
            assert!(at(seconds).starts_with("    0.0 s"));
        }
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[2J\tc\u{202e}\rd\r\n"), "a; b\\u{1b}[2J c\\u{202e}\\u{d}d");
    }

    #[test]
    fn what_commands_a_terminal_is_shown_in_what_a_machine_wrote() {
        assert_eq!(quote_output("a\r\n\u{1b}[1Ab\tc\u{9b}"), "  | a\n  | \\u{1b}[1Ab\tc\\u{9b}");
    }
}
