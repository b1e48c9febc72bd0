//! Lines at the end of a terminal that are redrawn, with log lines above them.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::terminal::printable;

/// Number of lines that are drawn now. The lock serialises all access to the terminal.
static DRAWN_LINES: Mutex<usize> = Mutex::new(0);

fn lock_drawn_lines() -> MutexGuard<'static, usize> {
    DRAWN_LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces the drawn lines. Calls `lines` with the width and height of the terminal.
pub(crate) fn draw(lines: impl FnOnce(usize, usize) -> Vec<String>) {
    let (width, height) = terminal_size();
    let lines = lines(width, height.saturating_sub(1).max(1));
    let mut drawn = lock_drawn_lines();
    let mut text = cursor_up(*drawn);
    for line in &lines {
        text.push_str(&printable(line));
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    *drawn = lines.len();
    write(&text);
}

/// Removes the drawn lines.
pub(crate) fn clear() {
    let mut drawn = lock_drawn_lines();
    if *drawn > 0 {
        write(&(cursor_up(*drawn) + "\x1b[J"));
        *drawn = 0;
    }
}

fn cursor_up(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\r") }
}

/// Writes to standard error. Errors are ignored: the terminal may have gone, and the command goes on.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Returns width and height of the terminal; 80 and 24 if they are not known.
fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// A writer of log lines to standard error, above the drawn lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut drawn = lock_drawn_lines();
        let mut stderr = io::stderr().lock();
        if *drawn > 0 {
            let _ = stderr.write_all((cursor_up(*drawn) + "\x1b[J").as_bytes());
            *drawn = 0;
        }
        // An error would be logged in turn, without end, if standard error is closed.
        let _ = stderr.write_all(printable(&String::from_utf8_lossy(bytes)).as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}
