//! Operations of a service, followed with progress as if they ran on this machine.

use std::time::{Duration, Instant};

use occopus_api::{Accepted, Operation, OperationState};
use occopus_engine::{Event, EventKind, StopSignal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::client::ServiceClient;
use super::compile::SubmittedDescription;
use super::without_locations;
use crate::failure::Failure;
use crate::report::{self, ProgressTree};
use crate::service_error::ServiceError;
use crate::{print, signals};

/// Pause between two requests for the state of an operation.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time for which the service may be unreachable: a restarted service continues its operations.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(300);
/// Time without an event after which the events of an ended operation are complete.
const EVENT_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// A summary of the events of an operation.
#[derive(Debug, Default)]
pub(crate) struct OperationSummary {
    /// Number of removed instances.
    pub(crate) dropped: usize,
}

impl OperationSummary {
    fn count_event(&mut self, event: &Event) {
        self.dropped += usize::from(matches!(event.kind, EventKind::NodeDropped { .. }));
    }
}

/// Follows an operation with progress until it has ended. Ctrl-C ends the following, not the operation. Locations in
/// errors are those in the user's files for a description that was `posted`, and are removed otherwise.
pub(crate) async fn follow_operation(
    service: &ServiceClient,
    accepted: &Accepted,
    mut events: UnboundedReceiver<Event>,
    tree: ProgressTree,
    posted: Option<&SubmittedDescription>,
) -> Result<OperationSummary, Failure> {
    let stop = StopSignal::default();
    signals::listen(stop.clone(), "leaving; the service continues");
    let (sender, shown) = unbounded_channel();
    let reporter = report::spawn_reporter(shown, tree);
    let mut summary = OperationSummary::default();
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    let mut last_contact = Instant::now();
    let outcome = loop {
        let is_due = tokio::select! {
            event = events.recv(), if !events.is_closed() || !events.is_empty() => match event {
                Some(event) => {
                    summary.count_event(&event);
                    let may_have_ended = matches!(event.kind, EventKind::InfraReady | EventKind::InfraDrop);
                    // The reporter ends with its channel, never before.
                    let _ = sender.send(event);
                    may_have_ended
                }
                None => false,
            },
            _ = poll.tick() => true,
            () = stop.requested() => break Err(interrupted(&accepted.infraid)),
        };
        if !is_due {
            continue;
        }
        match service.operation(&accepted.infraid, accepted.operation_id()).await {
            Ok(operation) => {
                last_contact = Instant::now();
                if let Some(outcome) = operation_outcome(operation, &accepted.infraid) {
                    break outcome;
                }
            }
            Err(Failure::Service(error)) if error.is_transient && last_contact.elapsed() < OUTAGE_TIMEOUT => {}
            Err(failure) => break Err(failure),
        }
    };
    if stop.request_count() == 0 {
        while let Ok(Some(event)) = tokio::time::timeout(EVENT_DRAIN_TIMEOUT, events.recv()).await {
            summary.count_event(&event);
            let _ = sender.send(event);
        }
    }
    drop(sender);
    let _ = reporter.await;
    match (outcome, posted) {
        (Ok(()), _) => Ok(summary),
        (Err(failure), Some(posted)) => Err(posted.relocate_failure(failure)),
        (Err(failure), None) => Err(without_locations(failure)),
    }
}

/// Returns the outcome of an operation; none while it runs.
fn operation_outcome(operation: Operation, id: &str) -> Option<Result<(), Failure>> {
    match operation.state {
        OperationState::Pending | OperationState::Running => None,
        OperationState::Done => {
            if let Some(message) = operation.message {
                print::note(message);
            }
            Some(Ok(()))
        }
        OperationState::Failed => {
            let error = operation.error.map_or_else(
                || {
                    let text =
                        operation.message.unwrap_or_else(|| "the operation failed; the service gives no cause".into());
                    ServiceError::new("operation.failed", text)
                },
                ServiceError::from,
            );
            Some(Err(error.with_infrastructure(id).into()))
        }
        OperationState::Superseded => {
            let text = operation.message.unwrap_or_else(|| "the operation was superseded by a later request".into());
            Some(Err(ServiceError::new("operation.superseded", text).with_infrastructure(id).into()))
        }
    }
}

fn interrupted(id: &str) -> Failure {
    ServiceError::new("client.left", format!("the service continues with {id}"))
        .with_infrastructure(id)
        .help(format!("`occopus events -f -i {id}` shows it again; `occopus destroy -i {id}` stops and removes it"))
        .into()
}

#[cfg(test)]
mod tests {
    use occopus_api::ExitStatus;
    use serde_json::{Value, json};

    use super::*;

    fn outcome(ended: Value) -> Option<Result<(), Failure>> {
        let mut operation =
            json!({"id": "o", "infraid": "i", "kind": "build", "by": "ada", "requested": "2026-01-01T00:00:00Z"});
        for (key, value) in ended.as_object().expect("an object") {
            operation[key] = value.clone();
        }
        operation_outcome(serde_json::from_value(operation).expect("an operation"), "i")
    }

    #[test]
    fn operations_fail_as_on_this_machine() {
        for state in ["pending", "running"] {
            assert!(outcome(json!({"state": state, "error": null})).is_none());
        }
        assert!(matches!(outcome(json!({"state": "done", "message": null})), Some(Ok(()))));
        let failed = json!({"state": "failed", "error": {"code": "engine.owned", "detail": "busy", "status": 409}});
        let Some(Err(failure)) = outcome(failed) else { panic!("it failed") };
        assert_eq!((failure.exit(), &failure.to_json()["error"]["infrastructure"]), (ExitStatus::Owned, &"i".into()));
        let Some(Err(failure)) = outcome(json!({"state": "failed"})) else { panic!("it failed") };
        assert_eq!(failure.exit(), ExitStatus::Failed);
        let Some(Err(failure)) = outcome(json!({"state": "superseded"})) else { panic!("it was superseded") };
        assert_eq!(failure.exit(), ExitStatus::Failed);
    }
}
