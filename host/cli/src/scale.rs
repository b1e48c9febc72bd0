//! `occopus scale`

use occopus::{Occopus, needs_of_description, needs_of_status};
use occopus_engine::{EngineError, MaintainOptions, Scale, Status};
use serde_json::json;

use super::args::{Common, Format, ScaleTo};
use super::failure::{Exit, Failure};
use super::remote::{self, Follow, ScaleBy, Service};
use super::report::Live;
use super::session::Place;
use super::{print, session};

const DOING: &str = "scaling";

pub(crate) async fn run(arguments: ScaleTo, common: &Common) -> Result<Exit, Failure> {
    let format = arguments.output.format;
    let how = match (arguments.change, arguments.set, arguments.filter) {
        (Some(change), ..) => Scale::By(change),
        (_, Some(number), _) => Scale::To(number),
        (.., filter) => Scale::Remove(filter.unwrap_or_default()),
    };
    let wish = Wish { id: arguments.infra_id, node: arguments.node, how, later: arguments.later };
    let scaled = match session::place(common)? {
        Place::Here(occopus) => here(wish, &occopus).await?,
        Place::Service(service) => there(wish, &service).await?,
    };
    match (scaled, format) {
        (Scaled::Recorded { node, number }, Format::Json) => {
            print::json(&json!({"node": node, "target": number, "applied": false}));
        }
        (Scaled::Recorded { .. }, Format::Text) => {
            print::line("recorded; the next pass of `occopus maintain` does it");
        }
        (Scaled::Applied(status), format) => {
            print::status(&status, format);
            return Ok(Exit::of_status(&status));
        }
        (Scaled::LeftTo(status), format) => print::status(&status, format),
    }
    Ok(Exit::Done)
}

/// What is to become of a node.
struct Wish {
    id: String,
    node: String,
    how: Scale,
    later: bool,
}

/// Outcome of a request to scale.
enum Scaled {
    /// It is on record, for whoever maintains it.
    Recorded { node: String, number: u32 },
    /// As far as it was possible.
    Applied(Status),
    /// Somebody else works on it, and will do it.
    LeftTo(Status),
}

fn told(node: &str, number: u32) {
    print::note(format_args!("{node} is to have {number}"));
}

async fn here(wish: Wish, occopus: &Occopus) -> Result<Scaled, Failure> {
    let Wish { id, node, how, later } = wish;
    let (id, node) = (&id, &node);
    let reader = occopus.reader().await?;
    let number = reader.scale(id, node, how).await?;
    told(node, number);
    if later {
        return Ok(Scaled::Recorded { node: node.clone(), number });
    }
    let before = reader.status(id, false).await?;
    let mut needs = needs_of_status(&before);
    let desired = reader.desired(id).await?;
    needs.extend(desired.iter().flat_map(needs_of_description));
    let webhooks = desired.map(|desired| desired.webhooks).unwrap_or_default();
    occopus.find_credentials_of(id).await;
    session::prepare(occopus, needs).await?;
    let engine = occopus.engine().await?;
    let live = Live::of_status(DOING, &before, print::colours_on_stderr());
    let first = "stopping after what is under way (once more: stop at once)";
    let done = session::watch(occopus, id, &webhooks, live, first, async |run| {
        engine.maintain(id, MaintainOptions::default(), run).await
    });
    match done.await {
        Ok(status) => Ok(Scaled::Applied(status)),
        Err(Failure::Engine(error, infrastructure)) => match *error {
            EngineError::Owned { holder, .. } => {
                print::note(format_args!("{holder} works on it, and will do it"));
                Ok(Scaled::LeftTo(reader.status(id, false).await?))
            }
            error => Err(Failure::Engine(Box::new(error), infrastructure)),
        },
        Err(failure) => Err(failure),
    }
}

async fn there(wish: Wish, service: &Service) -> Result<Scaled, Failure> {
    let Wish { id, node, how, later } = wish;
    let before = service.status(&id, false).await?;
    let known = before.nodes.iter().find(|it| it.name == node).map(|it| it.target).unwrap_or_default();
    let (by, number) = match how {
        Scale::To(number) => (ScaleBy::To(number), number),
        Scale::Remove(instance) => (ScaleBy::Without(instance), known.saturating_sub(1)),
        Scale::By(change @ 0..) => (ScaleBy::More(change.unsigned_abs()), known.saturating_add_signed(change)),
        Scale::By(change) => {
            // A service takes one instance away at a time; more of them in one step are a number to come to.
            let number = known.saturating_add_signed(change);
            (ScaleBy::To(number), number)
        }
    };
    service.scale(&id, &node, &by).await?;
    told(&node, number);
    if later {
        return Ok(Scaled::Recorded { node, number });
    }
    let events = remote::follow(service, &id, Follow::FromNow).await?;
    match service.maintain(&id, false).await {
        Ok(accepted) => {
            let live = Live::of_status(DOING, &before, print::colours_on_stderr());
            remote::watch(service, &accepted, events, live, None).await?;
        }
        Err(Failure::Service(refused)) if refused.exit == Exit::Owned => {
            print::note("somebody works on it, and will do it");
            return Ok(Scaled::LeftTo(service.status(&id, false).await?));
        }
        Err(failure) => return Err(failure),
    }
    Ok(Scaled::Applied(service.status(&id, false).await?))
}
