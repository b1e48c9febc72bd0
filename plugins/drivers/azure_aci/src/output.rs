//! Output of a container, as evidence when it fails
//! (<https://learn.microsoft.com/rest/api/container-instances/containers/list-logs>).

use occopus_azure_arm::{Arm, Call};
use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, Reaction};
use serde::Deserialize;

use crate::arm;
use crate::handle::Reference;

#[derive(Deserialize)]
struct Logs {
    content: Option<String>,
}

/// Returns the last lines of the container, which has the name of its group. Empty if it wrote nothing.
///
/// # Errors
/// `unsupported` if Azure has no output of it, as of a container that never started.
pub(crate) fn tail(arm: &Arm<'_>, reference: &Reference, lines: u32) -> Result<String, Fault> {
    let path = format!("{}/containers/{}/logs", reference.path(), encoded(&reference.name));
    match arm.read::<Logs>(&Call::get(&path, arm::API_VERSION).query("tail", lines.to_string())) {
        Ok(logs) => Ok(last_lines(&logs.content.unwrap_or_default(), lines)),
        Err(fault) if fault.reaction == Reaction::Retry => Err(fault),
        // The reason for which the host wants the output must not be hidden by this.
        Err(fault) => Err(Fault { reaction: Reaction::Unsupported, ..fault }),
    }
}

fn last_lines(text: &str, lines: u32) -> String {
    let all: Vec<&str> = text.lines().collect();
    let skipped = all.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
    all.get(skipped..).unwrap_or_default().join("\n")
}
