//! Limits of one call.

use std::time::Duration;

use serde::Deserialize;
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};

/// Bounds of one call of a plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallLimits {
    /// Bytes of each linear memory.
    pub memory_bytes: usize,
    /// Milliseconds of compute time, without waiting.
    pub compute_ms: u64,
    /// Bytes that cross from the plugin to the host in one host call.
    pub transfer_bytes: usize,
    /// Handles that a call holds at the same time: requests, answers, streams, timers and the inputs of the call.
    pub handles: usize,
    /// Bytes of an outgoing HTTP body.
    pub request_body_bytes: u64,
    /// Bytes of an incoming HTTP body.
    pub response_body_bytes: u64,
    /// Bytes of bodies that the host holds at a time for a call, in both directions together.
    pub held_body_bytes: u64,
    /// Bytes of bodies for all calls together, beyond the first 512 KiB of each.
    pub held_body_bytes_of_all: u64,
    /// Bytes of log lines, progress and refusals, and of standard output and error together.
    pub log_bytes: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            compute_ms: 10_000,
            transfer_bytes: 64 << 20,
            handles: 1_000,
            request_body_bytes: 32 << 20,
            response_body_bytes: 64 << 20,
            held_body_bytes: 96 << 20,
            held_body_bytes_of_all: 512 << 20,
            log_bytes: 64 << 10,
        }
    }
}

impl CallLimits {
    /// Returns the compute time that a call may use.
    pub(crate) fn compute_time(&self) -> Duration {
        Duration::from_millis(self.compute_ms)
    }
}

/// Time between two increments of the epoch.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Limiter of one store, which also counts the bytes of its linear memories.
pub(crate) struct StoreLimiter {
    limits: StoreLimits,
    pub(crate) linear_memory_bytes: usize,
}

impl StoreLimiter {
    pub(crate) fn new(limits: &CallLimits) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(limits.memory_bytes)
            .table_elements(20_000)
            .instances(64)
            .tables(64)
            .memories(16)
            .trap_on_grow_failure(true)
            .build();
        Self { limits, linear_memory_bytes: 0 }
    }
}

impl ResourceLimiter for StoreLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let is_allowed = self.limits.memory_growing(current, desired, maximum)?;
        if is_allowed {
            self.linear_memory_bytes += desired - current;
        }
        Ok(is_allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.limits.memory_grow_failed(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.limits.table_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}
