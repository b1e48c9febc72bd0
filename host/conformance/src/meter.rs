//! A recorder of everything that is logged, and of the resources that each call used.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Resources that the calls of one function used.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Usage {
    /// Function of the contract.
    pub function: String,
    /// Number of calls.
    pub calls: usize,
    /// Seconds of the slowest call.
    pub slowest_seconds: f64,
    /// Maximum bytes of linear memory of a call.
    pub memory_bytes: u64,
}

/// Maximum bytes of the log that are kept.
const MAX_LOG_BYTES: usize = 64 << 20;
/// Maximum lines of a plugin that are kept for each check, and characters of each.
const MAX_OUTPUT_LINES: usize = 200;
const MAX_LINE_CHARS: usize = 500;

#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<MeterState>>);

#[derive(Debug, Default)]
struct MeterState {
    /// The whole log.
    text: String,
    usage: BTreeMap<String, Usage>,
    /// Lines that the plugin wrote during the current check.
    output: VecDeque<String>,
    /// Current step of the current check.
    step: String,
}

impl Meter {
    /// Clears the output and the step for a new check.
    pub(crate) fn begin_check(&self) {
        let mut state = self.lock();
        state.output.clear();
        state.step.clear();
    }

    /// Sets the current step of the current check.
    pub(crate) fn set_step(&self, step: &str) {
        step.clone_into(&mut self.lock().step);
    }

    pub(crate) fn step(&self) -> String {
        self.lock().step.clone()
    }

    /// Returns the last lines of the plugin during the current check.
    pub(crate) fn output(&self) -> Vec<String> {
        self.lock().output.iter().cloned().collect()
    }

    /// Appends a value to the log.
    pub(crate) fn record(&self, value: &dyn Debug) {
        let mut state = self.lock();
        if state.text.len() < MAX_LOG_BYTES {
            let _ = writeln!(state.text, "{value:?}");
        }
    }

    pub(crate) fn contains(&self, needle: &str) -> bool {
        self.lock().text.contains(needle)
    }

    pub(crate) fn usage(&self) -> Vec<Usage> {
        self.lock().usage.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, MeterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fields of one event or span.
#[derive(Default)]
struct Fields {
    text: String,
    message: String,
    call: Usage,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.text, " {}={value:?}", field.name());
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "function" {
            self.call.function = value.to_owned();
        }
        let _ = write!(self.text, " {}={value}", field.name());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "histogram.occopus_plugin_call_seconds" {
            self.call.slowest_seconds = value;
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "histogram.occopus_plugin_call_memory_bytes" {
            self.call.memory_bytes = value;
        }
    }
}

impl<S: Subscriber> Layer<S> for Meter {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.record(&fields.text);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.record(&fields.text);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.record(&fields.text);
        if event.metadata().target() == "plugin" {
            let mut state = self.lock();
            if state.output.len() == MAX_OUTPUT_LINES {
                state.output.pop_front();
            }
            state.output.push_back(fields.message.chars().take(MAX_LINE_CHARS).collect());
        }
        if event.metadata().target() == "occopus::metrics" && !fields.call.function.is_empty() {
            let mut state = self.lock();
            let usage = state.usage.entry(fields.call.function.clone()).or_default();
            usage.function = fields.call.function;
            usage.calls += 1;
            usage.slowest_seconds = usage.slowest_seconds.max(fields.call.slowest_seconds);
            usage.memory_bytes = usage.memory_bytes.max(fields.call.memory_bytes);
        }
    }
}
