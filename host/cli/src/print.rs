//! Standard output and standard error, which may be closed at any time: whoever reads them may have gone, and that must
//! not end a deployment half way.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use occopus_engine::Status;
use serde::Serialize;

use super::args::OutputFormat;
use super::report::status_lines;
use super::terminal::{printable, printable_json};

/// Whether something that was to be printed on standard output is lost.
static STDOUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line on standard output. That nobody reads it any more is no failure; that it can't be written is, and
/// [`is_lost`] remembers it until the work is done.
pub(crate) fn line(text: impl Display) {
    write_line(printable(&text.to_string()));
}

fn write_line(text: impl Display) {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => STDOUT_FAILED.store(true, Ordering::Relaxed),
        _ => {}
    }
}

/// Whether standard output could not be written: a full disk, for example.
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

/// Prints all that is known of an infrastructure on standard output.
pub(crate) fn status(status: &Status, format: OutputFormat) {
    match format {
        OutputFormat::Json => json(status),
        OutputFormat::Text => status_lines(status, Timestamp::now(), colours_on_stdout()).iter().for_each(line),
    }
}

/// Prints a JSON document on one line of standard output. False when nobody reads any more.
pub(crate) fn json_line(value: &impl Serialize) -> bool {
    serde_json::to_string(value).is_ok_and(|text| try_write_line(printable_json(&text)))
}

/// Prints a line on standard output. False when nobody reads any more.
pub(crate) fn try_line(text: impl Display) -> bool {
    try_write_line(printable(&text.to_string()))
}

fn try_write_line(text: impl Display) -> bool {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_ok()
}

/// Asks on a terminal. No answer is no, and so is everything but yes.
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

/// Whether standard output may have colours.
pub(crate) fn colours_on_stdout() -> bool {
    colours_allowed() && io::stdout().is_terminal()
}

/// Whether standard error may have colours.
pub(crate) fn colours_on_stderr() -> bool {
    colours_allowed() && io::stderr().is_terminal()
}

/// <https://no-color.org>
fn colours_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
