//! Long work of a service: shown while it goes on, as if it were done here.

use std::time::{Duration, Instant};

use occopus_engine::{Event, EventKind, StopSignal};
use serde::Deserialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::client::ServiceClient;
use super::compile::SubmittedDescription;
use super::problem::{ProblemDetails, ServiceError};
use super::without_locations;
use crate::failure::{ExitStatus, Failure};
use crate::report::{self, ProgressTree};
use crate::{print, signals};

/// Between two looks at whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A service that is started anew goes on with its work; it may take this long.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(300);
/// Events that belong to the end come at about the same time.
const EVENT_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// What a service answers to a request that takes its time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Accepted {
    pub(super) infraid: String,
    /// Where to look.
    pub(super) operation: String,
}

impl Accepted {
    /// The operation's id. The way to it may lead through proxies that the service does not know of.
    fn operation_id(&self) -> &str {
        self.operation.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }
}

/// Long work.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Operation {
    state: OperationState,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    error: Option<ProblemDetails>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OperationState {
    Pending,
    Running,
    Done,
    Failed,
    Superseded,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct OperationSummary {
    /// How many instances went.
    pub(crate) dropped: usize,
}

impl OperationSummary {
    fn count_event(&mut self, event: &Event) {
        self.dropped += usize::from(matches!(event.kind, EventKind::NodeDropped { .. }));
    }
}

/// Shows what happens until the work has ended. Ctrl-C ends the showing, not the work. What is wrong is shown where the user
/// wrote it, when it was sent just now.
pub(crate) async fn follow_operation(
    service: &ServiceClient,
    accepted: &Accepted,
    mut events: UnboundedReceiver<Event>,
    live: ProgressTree,
    posted: Option<&SubmittedDescription>,
) -> Result<OperationSummary, Failure> {
    let stop = StopSignal::default();
    signals::listen(stop.clone(), "leaving; the service goes on");
    let (tell, told) = unbounded_channel();
    let reporter = report::spawn_reporter(told, live);
    let mut watched = OperationSummary::default();
    let mut look = tokio::time::interval(POLL_INTERVAL);
    let mut reached = Instant::now();
    let ended = loop {
        let looks = tokio::select! {
            event = events.recv(), if !events.is_closed() || !events.is_empty() => match event {
                Some(event) => {
                    watched.count_event(&event);
                    let is_telling = matches!(event.kind, EventKind::InfraReady | EventKind::InfraDrop);
                    // The reporter ends with its channel, never before.
                    let _ = tell.send(event);
                    is_telling
                }
                None => false,
            },
            _ = look.tick() => true,
            () = stop.requested() => break Err(interrupted(&accepted.infraid)),
        };
        if !looks {
            continue;
        }
        match service.operation(&accepted.infraid, accepted.operation_id()).await {
            Ok(operation) => {
                reached = Instant::now();
                if let Some(ended) = outcome(operation, &accepted.infraid) {
                    break ended;
                }
            }
            Err(Failure::Service(refused)) if refused.is_transient && reached.elapsed() < OUTAGE_TIMEOUT => {}
            Err(failure) => break Err(failure),
        }
    };
    if stop.request_count() == 0 {
        while let Ok(Some(event)) = tokio::time::timeout(EVENT_DRAIN_TIMEOUT, events.recv()).await {
            watched.count_event(&event);
            let _ = tell.send(event);
        }
    }
    drop(tell);
    let _ = reporter.await;
    match (ended, posted) {
        (Ok(()), _) => Ok(watched),
        (Err(failure), Some(posted)) => Err(posted.relocate_failure(failure)),
        (Err(failure), None) => Err(without_locations(failure)),
    }
}

/// None as long as it goes on.
fn outcome(operation: Operation, id: &str) -> Option<Result<(), Failure>> {
    match operation.state {
        OperationState::Pending | OperationState::Running => None,
        OperationState::Done => {
            if let Some(message) = operation.message {
                print::note(message);
            }
            Some(Ok(()))
        }
        OperationState::Failed => {
            let refused = operation.error.map_or_else(
                || {
                    let text =
                        operation.message.unwrap_or_else(|| "it failed, and the service does not say why".into());
                    ServiceError::new(ExitStatus::Failed, "operation.failed", text)
                },
                ServiceError::from,
            );
            Some(Err(refused.with_infrastructure(id).into()))
        }
        OperationState::Superseded => {
            let text = operation.message.unwrap_or_else(|| "somebody has asked for something else since".into());
            Some(Err(ServiceError::new(ExitStatus::Failed, "operation.superseded", text)
                .with_infrastructure(id)
                .into()))
        }
    }
}

fn interrupted(id: &str) -> Failure {
    ServiceError::new(ExitStatus::Interrupted, "client.left", format!("the service goes on with {id}"))
        .with_infrastructure(id)
        .help(format!("`occopus events -f -i {id}` shows it again; `occopus destroy -i {id}` stops and removes it"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(json: &str) -> Option<Result<(), Failure>> {
        outcome(serde_json::from_str(json).expect("an operation"), "i")
    }

    #[test]
    fn operations_end_as_the_same_work_does_here() {
        for state in ["pending", "running"] {
            assert!(ended(&format!(r#"{{"id": "o", "state": "{state}", "error": null}}"#)).is_none());
        }
        assert!(matches!(ended(r#"{"state": "done", "message": null}"#), Some(Ok(()))));
        let failed = r#"{"state": "failed", "error": {"code": "engine.owned", "detail": "busy", "status": 409}}"#;
        let Some(Err(failure)) = ended(failed) else { panic!("it failed") };
        assert_eq!((failure.exit(), &failure.to_json()["error"]["infrastructure"]), (ExitStatus::Owned, &"i".into()));
        let Some(Err(failure)) = ended(r#"{"state": "failed"}"#) else { panic!("it failed") };
        assert_eq!(failure.exit(), ExitStatus::Failed);
        let Some(Err(failure)) = ended(r#"{"state": "superseded"}"#) else { panic!("another took its place") };
        assert_eq!(failure.exit(), ExitStatus::Failed);
    }

    #[test]
    fn an_operation_is_named_by_the_end_of_its_address() {
        for operation in ["/infrastructures/i/operations/o", "https://x/y/infrastructures/i/operations/o/"] {
            assert_eq!(Accepted { infraid: "i".into(), operation: operation.into() }.operation_id(), "o");
        }
    }
}
