//! `!command` in credentials: the output of a program, and its lifetime.

use std::time::{Duration, Instant};

use super::{Item, Value};
use crate::credentials::Secret;
use crate::diagnostic::Diagnostic;

/// Outputs of commands that were run for values. They are kept for their lifetime, so that a file can be read again
/// without prompting the user for a password again.
#[derive(Debug, Default)]
pub struct CommandOutputs {
    entries: Vec<CommandOutput>,
    now: Option<Instant>,
}

#[derive(Debug, Clone)]
struct CommandOutput {
    words: Vec<String>,
    lifetime: Option<Duration>,
    text: Secret,
    /// End of its lifetime; `None` without a known one.
    expires_at: Option<Instant>,
}

impl CommandOutputs {
    /// Returns the outputs whose lifetime has not ended at `now`, for a reading that begins then.
    #[must_use]
    pub fn unexpired_at(&self, now: Instant) -> Self {
        let lives = |output: &&CommandOutput| output.expires_at.is_none_or(|until| now < until);
        Self { entries: self.entries.iter().filter(lives).cloned().collect(), now: Some(now) }
    }

    /// Returns no outputs, for a reading that begins at `now`: every command is run.
    pub fn empty_at(now: Instant) -> Self {
        Self { entries: Vec::new(), now: Some(now) }
    }

    /// Returns the earliest end of a lifetime.
    pub fn expires_at(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|output| output.expires_at).min()
    }

    /// Returns the known output of a command, or runs it.
    pub(super) fn get_or_run(&mut self, words: &[String], lifetime: Option<Duration>) -> Result<String, String> {
        let same = |known: &&CommandOutput| known.words == words && known.lifetime == lifetime;
        if let Some(known) = self.entries.iter().find(same) {
            return Ok(known.text.expose().to_owned());
        }
        let text = run_command(words)?;
        let until = lifetime.and_then(|lifetime| self.now?.checked_add(lifetime));
        self.entries.push(CommandOutput {
            words: words.to_vec(),
            lifetime,
            text: Secret::new(text.clone()),
            expires_at: until,
        });
        Ok(text)
    }
}

/// Parses a command and the lifetime of its output: `!command LINE`, `!command [WORD, ...]`, or
/// `!command {run: LINE, lifetime: 50m}`.
pub(super) fn parse_command(item: &Item) -> Result<(Item, Option<Duration>), Box<Diagnostic>> {
    let Value::Mapping(entries) = &item.node.value else { return Ok((item.clone(), None)) };
    let form = "write `!command {run: LINE, lifetime: 50m}`; `lifetime` may be left out";
    let fail = |message: &str, at: &Item| {
        Box::new(Diagnostic::error("credentials.command", message).at(&at.at, "here").help(form))
    };
    if let Some(entry) = entries.iter().find(|entry| entry.key != "run" && entry.key != "lifetime") {
        let diagnostic = crate::check::unknown_key(&entry.key, &entry.key_at, "`!command`", &["run", "lifetime"]);
        return Err(Box::new(diagnostic));
    }
    let Some(run) = item.get("run") else { return Err(fail("`!command` has no `run`", item)) };
    if command_words(run).is_empty() {
        return Err(fail("`run` of `!command` names no program", run));
    }
    let lifetime = match item.get("lifetime").map(|item| (item, &item.node.value)) {
        None => None,
        Some((at, Value::String(text))) => {
            Some(parse_duration(text).ok_or_else(|| fail("`lifetime` is a time such as `50m`, `12h` or `90s`", at))?)
        }
        Some((at, Value::Number(number))) => {
            let seconds = number.as_u64().filter(|seconds| *seconds > 0);
            Some(Duration::from_secs(seconds.ok_or_else(|| fail("`lifetime` is a whole number of seconds", at))?))
        }
        Some((at, _)) => return Err(fail("`lifetime` is a time such as `50m`, `12h` or `90s`", at)),
    };
    Ok((run.clone(), lifetime))
}

/// Parses `90s`, `50m`, `1h30m`, `2d`; more than 0.
fn parse_duration(text: &str) -> Option<Duration> {
    let (mut seconds, mut digits) = (0_u64, String::new());
    for c in text.trim().chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(std::mem::take(&mut digits).parse::<u64>().ok()?.checked_mul(unit)?)?;
    }
    (digits.is_empty() && seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Runs a command and returns its output. Blocks; the command has the terminal, so it may prompt the user for a
/// password.
fn run_command(words: &[String]) -> Result<String, String> {
    use std::process::{Command, Stdio};
    let [program, arguments @ ..] = words else { return Err("is empty".to_owned()) };
    let output = Command::new(program).args(arguments).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("can't be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("failed ({})", output.status));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| "prints what is not UTF-8".to_owned())?;
    Ok(text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text).to_owned())
}

/// Returns the words of a line or of a list.
pub(super) fn command_words(item: &Item) -> Vec<String> {
    match &item.node.value {
        Value::String(line) => line.split_whitespace().map(str::to_owned).collect(),
        Value::Sequence(items) => items.iter().filter_map(|item| item.str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read() {
        for (text, seconds) in [("90s", Some(90)), ("50m", Some(3000)), ("1h30m", Some(5400)), ("2d", Some(172_800))] {
            assert_eq!(parse_duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["", "50", "m", "0s", "-1m", "5w", "1h 5", "99999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn outputs_are_kept_while_they_live() {
        let words = ["date", "+%s%N"].map(str::to_owned);
        let start = Instant::now();
        let mut outputs = CommandOutputs::empty_at(start);
        let (minute, hour) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(3600)));
        let first = [minute, hour, None].map(|lifetime| outputs.get_or_run(&words, lifetime).expect("runs"));
        assert_eq!(outputs.expires_at(), Some(start + Duration::from_secs(60)));
        let mut later = outputs.unexpired_at(start + Duration::from_secs(61));
        let second = [minute, hour, None].map(|lifetime| later.get_or_run(&words, lifetime).expect("runs"));
        assert_eq!((first[0] == second[0], &first[1..]), (false, &second[1..]));
    }
}
