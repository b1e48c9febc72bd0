//! `occopus auth`

use occopus::Authentication;
use serde_json::json;

use super::args::{Auth, Common, Format};
use super::failure::Failure;
use super::{print, session};

pub(crate) async fn run(auth: Auth, common: &Common) -> Result<(), Failure> {
    let Auth::Check { files, output } = auth;
    let occopus = session::open(common)?;
    let infrastructure = session::compile(&occopus, files).await?.infrastructure;
    session::warn(&occopus.credentials().await?);
    let previews = session::rehearse(&occopus, None, &infrastructure).await?;
    let found = occopus.authentications(&infrastructure, &previews).await?;
    match output.format {
        Format::Json => {
            let one = |found: &Authentication| {
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
            print::json(&found.iter().map(one).collect::<Vec<_>>());
        }
        Format::Text => found.iter().for_each(|found| print::line(line(found))),
    }
    session::refuse(&occopus, &found)
}

fn line(found: &Authentication) -> String {
    let what = format!("{} {} ({}, {})", found.node_type, found.section, found.keyword, found.origin);
    match (&found.problem, &found.rule) {
        (Some(problem), _) => format!("{what}: {problem}"),
        (None, Some(rule)) => format!("{what}: {} from {rule}", found.fields.join(", ")),
        (None, None) => format!("{what}: needs no credentials"),
    }
}
