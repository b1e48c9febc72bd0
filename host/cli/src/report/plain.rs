//! Progress as lines, for files and pipes.

use std::collections::HashMap;
use std::time::Instant;

use occopus_engine::{Event, What};

use crate::terminal::is_command;

/// Turns events into lines, without saying the same thing twice.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Not by the times of events, since the clock may be set.
    began: Option<Instant>,
    /// What was said last about a node.
    said: HashMap<String, String>,
}

impl Lines {
    /// The line for an event; none when it says nothing new.
    pub(crate) fn line(&mut self, event: &Event) -> Option<String> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let text = one_line(&event.to_string());
        if let Some(node) = event.what.node_name() {
            let repeats = matches!(event.what, What::Waiting { .. } | What::Progress { .. });
            if repeats && self.said.get(node) == Some(&text) {
                return None;
            }
            self.said.insert(node.to_owned(), text.clone());
        }
        let seconds = began.elapsed().as_secs_f64();
        Some(format!("{seconds:7.1} s  {text}"))
    }
}

/// Lines that a machine wrote, indented, without what would do something to a terminal.
pub(crate) fn quoted(output: &str) -> String {
    let clean = |line: &str| line.chars().filter(|c| !is_command(*c)).collect::<String>();
    let lines: Vec<_> = output.lines().map(|line| format!("  | {}", clean(line))).collect();
    lines.join("\n")
}

/// Text of clouds and checks may hold anything; nothing of it may move the cursor.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        match character {
            '\n' => line.push_str("; "),
            '\t' => line.push(' '),
            command if is_command(command) => {}
            other => line.push(other),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn event(what: What) -> Event {
        Event { id: None, time: Timestamp::UNIX_EPOCH, infra_id: "i".into(), what }
    }

    fn waiting(message: &str) -> Event {
        event(What::Waiting { node_id: "n".into(), node_name: "web".into(), message: message.into() })
    }

    #[test]
    fn what_is_said_again_is_left_out() {
        let mut lines = Lines::default();
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
        let mut lines = Lines::default();
        let mut at = |seconds: i64| {
            let time = Timestamp::from_second(seconds).expect("a time");
            let what = What::Waiting { node_id: "n".into(), node_name: "web".into(), message: seconds.to_string() };
            lines.line(&Event { id: None, time, infra_id: "i".into(), what }).expect("a line")
        };
        for seconds in [10_000, 13_600, 6_400] {
            assert!(at(seconds).starts_with("    0.0 s"));
        }
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a\nb\u{1b}[2J\tc\u{202e}\r\n"), "a; b[2J c");
    }
}
