//! `occopus:host/log`: to `tracing`, with the plugin's and the node's names, bounded and without secrets.

use std::sync::atomic::Ordering;

use wasmtime::Result;

use super::{Call, HostState};
use crate::bindings::imports::occopus::host::log;
use crate::secrets::CallSecrets;

impl log::Host for HostState {
    async fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        // A longer line is dropped in any case.
        let limit = self.call.services.limits.log_bytes;
        let mut line = message;
        for (key, value) in fields {
            if line.len() <= limit {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        self.call.log(level, &line);
        Ok(())
    }
}

/// Value of the remaining bytes once the budget is used up, and a warning about that was logged.
const LOG_BUDGET_EXHAUSTED: usize = usize::MAX;

/// Warning for the operator: it explains a driver that can't read an answer.
const SECRET_REPEATED_WARNING: &str =
    "a server repeated a value of the credential that it was sent; the plugin reads asterisks in its place";

/// Cost of a line beside its own bytes: time, names and level are written with it.
const LINE_OVERHEAD_BYTES: usize = 32;

impl Call {
    /// Takes a line of `bytes` from the call's budget for logs and reports. Returns whether it fits; logs once when the
    /// budget is used up.
    pub(crate) fn consume_log_budget(&self, bytes: usize) -> bool {
        let cost = bytes.saturating_add(LINE_OVERHEAD_BYTES);
        let remaining = self.log_bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |remaining| {
            (remaining != LOG_BUDGET_EXHAUSTED).then(|| remaining.checked_sub(cost).unwrap_or(LOG_BUDGET_EXHAUSTED))
        });
        let Ok(remaining) = remaining else { return false };
        if cost > remaining {
            tracing::warn!(target: "plugin", plugin = %self.plugin, node = %self.context.node, "logs too much; the rest of this call's lines is dropped");
        }
        cost <= remaining
    }

    /// Logs a line of the plugin, as long as its budget lasts.
    pub(crate) fn log(&self, level: log::Level, line: &str) {
        if !self.consume_log_budget(line.len()) {
            return;
        }
        // A plugin's text must not move the reader's cursor, or look like two lines.
        let line = self.redact(line).replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
        let (plugin, node) = (&self.plugin, &self.context.node);
        match level {
            log::Level::Trace => tracing::trace!(target: "plugin", %plugin, %node, "{line}"),
            log::Level::Debug => tracing::debug!(target: "plugin", %plugin, %node, "{line}"),
            log::Level::Info => tracing::info!(target: "plugin", %plugin, %node, "{line}"),
            log::Level::Warn => tracing::warn!(target: "plugin", %plugin, %node, "{line}"),
            log::Level::Error => tracing::error!(target: "plugin", %plugin, %node, "{line}"),
        }
    }
}

/// Logs at the end of a call, once, if a server has repeated a value of its credential.
impl Drop for Call {
    fn drop(&mut self) {
        if self.secrets.as_ref().is_some_and(CallSecrets::any_repeated)
            && self.consume_log_budget(SECRET_REPEATED_WARNING.len())
        {
            tracing::warn!(plugin = %self.plugin, node = %self.context.node, "{SECRET_REPEATED_WARNING}");
        }
    }
}
