//! What one call may use up.

use std::time::Duration;

use serde::Deserialize;

/// Bounds of one call of a plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of each linear memory.
    pub memory_bytes: usize,
    /// Milliseconds of computing, waiting aside.
    pub compute_ms: u64,
    /// Bytes that cross from the plugin to the host in one host call.
    pub transfer_bytes: usize,
    /// Open handles.
    pub handles: usize,
    /// Bytes of an outgoing HTTP body.
    pub request_body_bytes: u64,
    /// Bytes of an incoming HTTP body.
    pub response_body_bytes: u64,
    /// Bytes of log lines, and of standard output and error together.
    pub log_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            compute_ms: 10_000,
            transfer_bytes: 64 << 20,
            handles: 1_000,
            request_body_bytes: 32 << 20,
            response_body_bytes: 64 << 20,
            log_bytes: 64 << 10,
        }
    }
}

impl Limits {
    /// In ticks of the epoch.
    pub(crate) fn compute_ticks(&self) -> u64 {
        (self.compute_ms / u64::try_from(TICK.as_millis()).unwrap_or(1)).max(1)
    }
}

/// How often the epoch is raised.
pub(crate) const TICK: Duration = Duration::from_millis(10);
