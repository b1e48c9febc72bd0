//! Standard output and standard error, which may be closed at any time: a reader that has gone must not end a deployment
//! half way. All text is made safe for terminals.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::terminal::{printable, printable_json};

/// A flag that something to be printed on standard output is lost.
static STDOUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line on standard output. A closed pipe is not a failure; any other error is, and [`has_stdout_failed`] then
/// returns true.
pub(crate) fn line(text: impl Display) {
    write_line(printable(&text.to_string()));
}

fn write_line(text: impl Display) {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => STDOUT_FAILED.store(true, Ordering::Relaxed),
        _ => {}
    }
}

/// Returns whether standard output could not be written, for example because of a full disk.
pub(crate) fn has_stdout_failed() -> bool {
    STDOUT_FAILED.load(Ordering::Relaxed)
}

/// Prints a JSON document on standard output.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => write_line(printable_json(&text)),
        Err(error) => note(format_args!("error: the result can't be written as JSON: {error}")),
    }
}

/// Prints a JSON document on one line of standard output. Returns false if the reader has gone.
pub(crate) fn json_line(value: &impl Serialize) -> bool {
    serde_json::to_string(value).is_ok_and(|text| try_write_line(printable_json(&text)))
}

/// Prints a line on standard output. Returns false if the reader has gone.
pub(crate) fn try_line(text: impl Display) -> bool {
    try_write_line(printable(&text.to_string()))
}

fn try_write_line(text: impl Display) -> bool {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_ok()
}

/// Asks on a terminal. Returns true for `y` or `yes` only; without a terminal returns false.
pub(crate) fn ask(question: &str) -> bool {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return false;
    }
    let _ = write!(io::stderr(), "{} [y/N] ", printable(question));
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Prints a line on standard error.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(&text.to_string()));
}

/// Returns whether standard output may have colours.
pub(crate) fn colours_on_stdout() -> bool {
    colours_allowed() && io::stdout().is_terminal()
}

/// Returns whether standard error may have colours.
pub(crate) fn colours_on_stderr() -> bool {
    colours_allowed() && io::stderr().is_terminal()
}

/// Returns whether the environment allows colours: <https://no-color.org>
fn colours_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
