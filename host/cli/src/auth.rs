//! `occopus auth`

use occopus::{Authentication, Purpose, Step};
use serde_json::json;

use super::args::{AuthCommand, GlobalArgs, OutputFormat};
use super::failure::Failure;
use super::{backend, print};

pub(crate) async fn run(auth: AuthCommand, common: &GlobalArgs) -> Result<(), Failure> {
    let AuthCommand::Check { files, output } = auth;
    let occopus = backend::open_local(common)?;
    let preparation = backend::prepare_description(&occopus, files, Purpose::Inspect, None, Step::Authenticate).await?;
    let found = preparation.authentications();
    match output.format {
        OutputFormat::Json => {
            let to_json = |found: &Authentication| {
                json!({
                    "node_type": found.node_type,
                    "section": found.section,
                    "type": found.keyword,
                    "origin": found.origin,
                    "rule": found.rule,
                    "fields": found.fields,
                    "problem": found.problem,
                })
            };
            print::json(&found.iter().map(to_json).collect::<Vec<_>>());
        }
        OutputFormat::Text => found.iter().for_each(|found| print::line(line(found))),
    }
    backend::ensure_authenticated(&occopus, &preparation)
}

fn line(found: &Authentication) -> String {
    let section = format!("{} {} ({}, {})", found.node_type, found.section, found.keyword, found.origin);
    match (&found.problem, &found.rule) {
        (Some(problem), _) => format!("{section}: {problem}"),
        (None, Some(rule)) => format!("{section}: {} from {rule}", found.fields.join(", ")),
        (None, None) => format!("{section}: needs no credentials"),
    }
}
