//! Long work of a service: shown while it goes on, as if it were done here.

use std::time::{Duration, Instant};

use occopus_engine::{Event, Stop, What};
use serde::Deserialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::compile::Posted;
use super::problem::{Problem, Refused};
use super::service::Service;
use super::without_places;
use crate::failure::{Exit, Failure};
use crate::report::{self, Live};
use crate::{print, signals};

/// Between two looks at whether it has ended.
const POLL: Duration = Duration::from_millis(500);
/// A service that is started anew goes on with its work; it may take this long.
const PATIENCE: Duration = Duration::from_secs(300);
/// Events that belong to the end come at about the same time.
const LAST_WORDS: Duration = Duration::from_millis(300);

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
    state: State,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    error: Option<Problem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Pending,
    Running,
    Done,
    Failed,
    Superseded,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// How many instances went.
    pub(crate) dropped: usize,
}

impl Watched {
    fn note(&mut self, event: &Event) {
        self.dropped += usize::from(matches!(event.what, What::NodeDropped { .. }));
    }
}

/// Shows what happens until the work has ended. Ctrl-C ends the showing, not the work. What is wrong is shown where the user
/// wrote it, when it was sent just now.
pub(crate) async fn watch(
    service: &Service,
    accepted: &Accepted,
    mut events: UnboundedReceiver<Event>,
    live: Live,
    posted: Option<&Posted>,
) -> Result<Watched, Failure> {
    let stop = Stop::default();
    signals::listen(stop.clone(), "leaving; the service goes on");
    let (tell, told) = unbounded_channel();
    let reporter = report::follow(told, live);
    let mut watched = Watched::default();
    let mut look = tokio::time::interval(POLL);
    let mut reached = Instant::now();
    let ended = loop {
        let looks = tokio::select! {
            event = events.recv(), if !events.is_closed() || !events.is_empty() => match event {
                Some(event) => {
                    watched.note(&event);
                    let is_telling = matches!(event.what, What::InfraReady | What::InfraDrop);
                    // The reporter ends with its channel, never before.
                    let _ = tell.send(event);
                    is_telling
                }
                None => false,
            },
            _ = look.tick() => true,
            () = stop.requested() => break Err(left_alone(&accepted.infraid)),
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
            Err(Failure::Service(refused)) if refused.is_passing && reached.elapsed() < PATIENCE => {}
            Err(failure) => break Err(failure),
        }
    };
    if stop.level() == 0 {
        while let Ok(Some(event)) = tokio::time::timeout(LAST_WORDS, events.recv()).await {
            watched.note(&event);
            let _ = tell.send(event);
        }
    }
    drop(tell);
    let _ = reporter.await;
    match (ended, posted) {
        (Ok(()), _) => Ok(watched),
        (Err(failure), Some(posted)) => Err(posted.explain(failure)),
        (Err(failure), None) => Err(without_places(failure)),
    }
}

/// None as long as it goes on.
fn outcome(operation: Operation, id: &str) -> Option<Result<(), Failure>> {
    match operation.state {
        State::Pending | State::Running => None,
        State::Done => {
            if let Some(message) = operation.message {
                print::note(message);
            }
            Some(Ok(()))
        }
        State::Failed => {
            let refused = operation.error.map_or_else(
                || {
                    let text =
                        operation.message.unwrap_or_else(|| "it failed, and the service does not say why".into());
                    Refused::new(Exit::Failed, "operation.failed", text)
                },
                Refused::from,
            );
            Some(Err(refused.at(id).into()))
        }
        State::Superseded => {
            let text = operation.message.unwrap_or_else(|| "somebody has asked for something else since".into());
            Some(Err(Refused::new(Exit::Failed, "operation.superseded", text).at(id).into()))
        }
    }
}

fn left_alone(id: &str) -> Failure {
    Refused::new(Exit::Interrupted, "client.left", format!("the service goes on with {id}"))
        .at(id)
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
        assert_eq!((failure.exit(), &failure.to_json()["error"]["infrastructure"]), (Exit::Owned, &"i".into()));
        let Some(Err(failure)) = ended(r#"{"state": "failed"}"#) else { panic!("it failed") };
        assert_eq!(failure.exit(), Exit::Failed);
        let Some(Err(failure)) = ended(r#"{"state": "superseded"}"#) else { panic!("another took its place") };
        assert_eq!(failure.exit(), Exit::Failed);
    }

    #[test]
    fn an_operation_is_named_by_the_end_of_its_address() {
        for operation in ["/infrastructures/i/operations/o", "https://x/y/infrastructures/i/operations/o/"] {
            assert_eq!(Accepted { infraid: "i".into(), operation: operation.into() }.operation_id(), "o");
        }
    }
}
