//! What came of it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use occopus_engine::StopSignal;
use occopus_engine::ports::Fault;
use occopus_runtime::PluginKind;
use serde::Serialize;

use crate::meter::{Meter, Usage};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As the contract promises.
    Passed,
    /// Not as the contract promises.
    Failed,
    /// It could not be tried with this fixture.
    Skipped,
    /// It was not tried, because a check that it builds on failed.
    Untried,
}

/// One promise of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen, or why it failed or was left out.
    pub note: String,
    /// How long it took.
    pub seconds: f64,
    /// The last lines that the plugin wrote meanwhile: its log, standard output and standard error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// What is told while the suite runs.
#[derive(Debug)]
pub enum ProgressEvent<'a> {
    /// A check takes its time.
    InProgress {
        /// Its name.
        check: &'static str,
        /// What it tries at the moment; may be empty.
        step: String,
        /// Since it began.
        seconds: u64,
    },
    /// A check has ended.
    Ended(&'a Check),
}

/// Between two lines about a check that takes its time.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// All checks of one plugin.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The plugin's name.
    pub plugin: String,
    /// Its kind.
    pub kind: PluginKind,
    /// In the order in which they ran.
    pub checks: Vec<Check>,
    /// By function.
    pub usage: Vec<Usage>,
}

impl Report {
    /// How many checks ended like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.outcome == outcome).count()
    }
}

/// Why a check did not pass.
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

/// A check gives what was seen.
pub(crate) type TestResult = Result<String, CheckError>;

/// A fault in one line.
pub(crate) fn describe_fault(fault: &Fault) -> String {
    let details: Vec<_> = fault.details.iter().map(|detail| format!("{} {}", detail.pointer, detail.message)).collect();
    let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join("; ")) };
    format!("{:?} `{}`: {}{details}", fault.reaction, fault.code, fault.message)
}

/// Runs checks and keeps what came of them.
pub(crate) struct Suite<T> {
    checks: Vec<Check>,
    /// Checks that were not tried, with the one that failed.
    causes: BTreeMap<&'static str, &'static str>,
    meter: Meter,
    on_progress: T,
    stop: StopSignal,
}

impl<T: FnMut(&ProgressEvent<'_>)> Suite<T> {
    pub(crate) fn new(tell: T, stop: StopSignal, meter: Meter) -> Self {
        Self { checks: Vec::new(), causes: BTreeMap::new(), meter, on_progress: tell, stop }
    }

    /// As [`Suite::check`], unless a check failed on which this one builds: nothing would be learnt from it.
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

    /// True when it passed. It is given up when the user has had enough.
    pub(crate) async fn check(&mut self, name: &'static str, work: impl AsyncFnOnce() -> TestResult) -> bool {
        let stop = self.stop.clone();
        let until_stopped = async || {
            tokio::select! {
                biased;
                () = stop.requested() => Err(CheckError::Failed("interrupted".to_owned())),
                checked = work() => checked,
            }
        };
        self.check_always(name, until_stopped).await
    }

    /// The same, also when the user has had enough: for tidying up.
    pub(crate) async fn check_always(&mut self, name: &'static str, work: impl AsyncFnOnce() -> TestResult) -> bool {
        let began = Instant::now();
        self.meter.begin_check();
        let mut work = pin!(work());
        let checked = loop {
            tokio::select! {
                biased;
                checked = &mut work => break checked,
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                    let (step, seconds) = (self.meter.step(), began.elapsed().as_secs());
                    (self.on_progress)(&ProgressEvent::InProgress { check: name, step, seconds });
                }
            }
        };
        let (outcome, note) = match checked {
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

/// To milliseconds.
fn round_to_millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
