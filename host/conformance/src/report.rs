//! The suite, which runs checks, and its report.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use occopus_engine::StopSignal;
use occopus_engine::ports::Fault;
use occopus_runtime::PluginKind;
use serde::Serialize;

use crate::meter::{Meter, Usage};

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The contract is fulfilled.
    Passed,
    /// The contract is violated.
    Failed,
    /// Skipped, because it is not possible with this fixture.
    Skipped,
    /// Left out, because a check that it depends on failed.
    Untried,
}

/// A check of one requirement of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Name of the check.
    pub name: &'static str,
    /// Outcome.
    pub outcome: Outcome,
    /// Observation, or the reason why it failed or was left out.
    pub note: String,
    /// Duration in seconds.
    pub seconds: f64,
    /// The last lines that the plugin wrote meanwhile: its log, standard output and standard error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// A progress report while the suite runs.
#[derive(Debug)]
pub enum ProgressEvent<'a> {
    /// A check is still running.
    InProgress {
        /// Name of the check.
        check: &'static str,
        /// Current step; may be empty.
        step: String,
        /// Seconds since it began.
        seconds: u64,
    },
    /// A check has ended.
    Ended(&'a Check),
}

/// Time between two reports of a check that is still running.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// All checks of one plugin.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the plugin.
    pub plugin: String,
    /// Kind of the plugin.
    pub kind: PluginKind,
    /// Checks in the order in which they ran.
    pub checks: Vec<Check>,
    /// Resources that its calls used, by function.
    pub usage: Vec<Usage>,
}

impl Report {
    /// Returns the number of checks with this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.outcome == outcome).count()
    }
}

/// Error: a check did not pass.
pub(crate) enum CheckError {
    Failed(String),
    Skipped(String),
}

impl From<String> for CheckError {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<&str> for CheckError {
    fn from(why: &str) -> Self {
        Self::Failed(why.to_owned())
    }
}

impl From<Fault> for CheckError {
    fn from(fault: Fault) -> Self {
        Self::Failed(describe_fault(&fault))
    }
}

/// Result of a check: the observation, or the error.
pub(crate) type TestResult = Result<String, CheckError>;

/// Describes a fault in one line.
pub(crate) fn describe_fault(fault: &Fault) -> String {
    let details: Vec<_> = fault.details.iter().map(|detail| format!("{} {}", detail.pointer, detail.message)).collect();
    let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join("; ")) };
    format!("{:?} `{}`: {}{details}", fault.reaction, fault.code, fault.message)
}

/// A runner of checks, with their outcomes so far.
pub(crate) struct Suite<T> {
    checks: Vec<Check>,
    /// Checks that were not tried, with the one that failed.
    causes: BTreeMap<&'static str, &'static str>,
    meter: Meter,
    on_progress: T,
    stop: StopSignal,
}

impl<T: FnMut(&ProgressEvent<'_>)> Suite<T> {
    pub(crate) fn new(on_progress: T, stop: StopSignal, meter: Meter) -> Self {
        Self { checks: Vec::new(), causes: BTreeMap::new(), meter, on_progress, stop }
    }

    /// Runs a check like [`Suite::check`], unless one that it depends on failed: it would prove nothing.
    pub(crate) async fn check_after(
        &mut self,
        needed: &[&'static str],
        name: &'static str,
        work: impl AsyncFnOnce() -> TestResult,
    ) -> bool {
        let failed = self.checks.iter().filter(|check| needed.contains(&check.name)).find_map(|it| match it.outcome {
            Outcome::Failed => Some(it.name),
            Outcome::Untried => self.causes.get(it.name).copied(),
            Outcome::Passed | Outcome::Skipped => None,
        });
        let Some(cause) = failed else { return self.check(name, work).await };
        self.causes.insert(name, cause);
        let note = format!("not tried, because {cause} failed");
        self.record(Check { name, outcome: Outcome::Untried, note, seconds: 0.0, output: Vec::new() });
        false
    }

    /// Runs a check and returns true if it passed. It is interrupted by the stop signal.
    pub(crate) async fn check(&mut self, name: &'static str, work: impl AsyncFnOnce() -> TestResult) -> bool {
        let stop = self.stop.clone();
        let work_until_stopped = async || {
            tokio::select! {
                biased;
                () = stop.requested() => Err(CheckError::Failed("interrupted".to_owned())),
                result = work() => result,
            }
        };
        self.check_always(name, work_until_stopped).await
    }

    /// Runs a check like [`Suite::check`], also after the stop signal: for cleaning up.
    pub(crate) async fn check_always(&mut self, name: &'static str, work: impl AsyncFnOnce() -> TestResult) -> bool {
        let began = Instant::now();
        self.meter.begin_check();
        let mut work = pin!(work());
        let result = loop {
            tokio::select! {
                biased;
                result = &mut work => break result,
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                    let (step, seconds) = (self.meter.step(), began.elapsed().as_secs());
                    (self.on_progress)(&ProgressEvent::InProgress { check: name, step, seconds });
                }
            }
        };
        let (outcome, note) = match result {
            Ok(note) => (Outcome::Passed, note),
            Err(CheckError::Failed(note)) => (Outcome::Failed, note),
            Err(CheckError::Skipped(note)) => (Outcome::Skipped, note),
        };
        let (seconds, output) = (round_to_millis(began.elapsed()), self.meter.output());
        self.record(Check { name, outcome, note, seconds, output });
        outcome == Outcome::Passed
    }

    fn record(&mut self, check: Check) {
        (self.on_progress)(&ProgressEvent::Ended(&check));
        self.checks.push(check);
    }

    pub(crate) fn report(self, plugin: &str, kind: PluginKind) -> Report {
        Report { plugin: plugin.to_owned(), kind, checks: self.checks, usage: self.meter.usage() }
    }
}

/// Returns seconds, rounded to milliseconds.
fn round_to_millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
