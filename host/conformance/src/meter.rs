//! Hears everything that is logged, and what each call used up.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// What the calls of one function used up.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Usage {
    /// Of the contract.
    pub function: String,
    /// How many calls.
    pub calls: usize,
    /// The one that took longest.
    pub slowest_seconds: f64,
    /// Bytes of linear memory, of the one that took most.
    pub memory_bytes: u64,
}

/// More is not kept.
const MAX_LOG_BYTES: usize = 64 << 20;
/// Lines of a plugin that are kept for each check, and letters of each.
const MAX_OUTPUT_LINES: usize = 200;
const MAX_LINE_CHARS: usize = 500;

#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<MeterState>>);

#[derive(Debug, Default)]
struct MeterState {
    /// Everything, one after the other.
    text: String,
    usage: BTreeMap<String, Usage>,
    /// What the plugin wrote during the check at hand.
    output: VecDeque<String>,
    /// What the check at hand tries.
    step: String,
}

impl Meter {
    /// A check begins.
    pub(crate) fn begin_check(&self) {
        let mut heard = self.lock();
        heard.output.clear();
        heard.step.clear();
    }

    /// What the check at hand tries now.
    pub(crate) fn set_step(&self, place: &str) {
        place.clone_into(&mut self.lock().step);
    }

    pub(crate) fn step(&self) -> String {
        self.lock().step.clone()
    }

    /// The last lines of the plugin during the check at hand.
    pub(crate) fn output(&self) -> Vec<String> {
        self.lock().output.iter().cloned().collect()
    }

    /// Keeps what was not logged, and will be.
    pub(crate) fn record(&self, said: &dyn Debug) {
        let mut heard = self.lock();
        if heard.text.len() < MAX_LOG_BYTES {
            let _ = writeln!(heard.text, "{said:?}");
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
            let mut heard = self.lock();
            if heard.output.len() == MAX_OUTPUT_LINES {
                heard.output.pop_front();
            }
            heard.output.push_back(fields.message.chars().take(MAX_LINE_CHARS).collect());
        }
        if event.metadata().target() == "occopus::metrics" && !fields.call.function.is_empty() {
            let mut heard = self.lock();
            let usage = heard.usage.entry(fields.call.function.clone()).or_default();
            usage.function = fields.call.function;
            usage.calls += 1;
            usage.slowest_seconds = usage.slowest_seconds.max(fields.call.slowest_seconds);
            usage.memory_bytes = usage.memory_bytes.max(fields.call.memory_bytes);
        }
    }
}
