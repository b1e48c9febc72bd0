//! Long-running operations
//! (<https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>).

use std::time::{Duration, Instant};

use occopus_sdk::http::Response;
use occopus_sdk::{Fault, Reaction};
use serde_json::Value;

use crate::client::{Arm, Call, Effect};
use crate::error::ArmError;

/// Pause between two polls, if the answer gives none.
const DEFAULT_POLL_PAUSE: Duration = Duration::from_secs(2);
const MAX_POLL_PAUSE: Duration = Duration::from_secs(30);
/// Shortest pause, also where Azure says that there need be none.
const MIN_POLL_PAUSE: Duration = Duration::from_millis(100);
/// Time that is left for the answer to the host.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// An operation that goes on after its request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Path and query on the management host, as Azure gave them.
    pub link: String,
    /// Set if the link is that of `Azure-AsyncOperation`, whose answers have a status.
    has_status: bool,
    /// Pause before the first poll.
    pause: Duration,
}

/// State of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Under way; the pause before the next poll.
    Running(Duration),
    /// Succeeded.
    Succeeded,
    /// Failed, or canceled, with HTTP 200.
    Failed(ArmError),
    /// Unknown: these credentials may not read it, or Azure no longer has it. The resource says what became of it.
    Unknown,
}

/// End of a wait for an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Succeeded.
    Succeeded,
    /// Failed, or canceled.
    Failed(ArmError),
    /// Not at its end within the time.
    StillRunning,
    /// Unknown: the resource says what became of it.
    Unknown,
}

impl Arm<'_> {
    /// Returns the operation that an answer names; none if it is finished. `Azure-AsyncOperation` counts more than
    /// `Location`.
    ///
    /// # Errors
    /// `retry` if it is on another host.
    pub fn operation_of(&self, response: &Response) -> Result<Option<Operation>, Fault> {
        let pause = pause_of(response);
        if let Some(url) = response.header("azure-asyncoperation") {
            return Ok(Some(Operation { link: self.own_link(url.trim())?.to_owned(), has_status: true, pause }));
        }
        match response.header("location").filter(|_| matches!(response.status, 201 | 202)) {
            Some(url) => Ok(Some(Operation { link: self.own_link(url.trim())?.to_owned(), has_status: false, pause })),
            None => Ok(None),
        }
    }

    /// Looks at an operation once.
    ///
    /// # Errors
    /// Fails if it can't be read, and may be read later.
    pub fn poll(&self, operation: &Operation) -> Result<Progress, Fault> {
        let answer = match self.send(&Call::follow(&operation.link)) {
            Ok(answer) => answer,
            // It takes rights on the group, and is kept for a while only.
            Err(fault) if matches!(fault.reaction, Reaction::Denied | Reaction::NotFound) => {
                return Ok(Progress::Unknown);
            }
            Err(fault) => return Err(fault),
        };
        let pause = pause_of(&answer);
        if !operation.has_status {
            return Ok(if answer.status == 202 { Progress::Running(pause) } else { Progress::Succeeded });
        }
        let body: Value = answer.json().unwrap_or_default();
        let status = body.get("status").and_then(Value::as_str).unwrap_or_default();
        match status.to_ascii_lowercase().as_str() {
            "succeeded" => Ok(Progress::Succeeded),
            "failed" | "canceled" | "cancelled" => Ok(Progress::Failed(failure_of(&body, status))),
            "" => Err(self.unreadable(Effect::None, "the state of an operation has no `status`")),
            _ => Ok(Progress::Running(pause)),
        }
    }

    /// Waits for the end of an operation, for this long at most, and for as long as the call has time.
    ///
    /// # Errors
    /// As [`Arm::poll`].
    pub fn wait(&self, operation: &Operation, at_most: Duration) -> Result<Ended, Fault> {
        let begun = Instant::now();
        let mut pause = operation.pause;
        loop {
            let left =
                at_most.saturating_sub(begun.elapsed()).min(self.call().remaining().saturating_sub(ANSWER_MARGIN));
            if self.call().cancelled() || left < pause {
                return Ok(Ended::StillRunning);
            }
            self.call().wait(pause);
            pause = match self.poll(operation)? {
                Progress::Running(pause) => pause,
                Progress::Succeeded => return Ok(Ended::Succeeded),
                Progress::Failed(error) => return Ok(Ended::Failed(error)),
                Progress::Unknown => return Ok(Ended::Unknown),
            };
        }
    }
}

/// Returns the error of an operation that failed; a canceled one may have none.
fn failure_of(body: &Value, status: &str) -> ArmError {
    let given = body.get("error").and_then(ArmError::read);
    given.or_else(|| body.get("properties").and_then(ArmError::read)).unwrap_or_else(|| ArmError {
        code: format!("Operation{status}"),
        message: format!("the operation ended with `{status}`, without a reason"),
        ..ArmError::default()
    })
}

fn pause_of(response: &Response) -> Duration {
    response.retry_after().map_or(DEFAULT_POLL_PAUSE, |pause| pause.clamp(MIN_POLL_PAUSE, MAX_POLL_PAUSE))
}
