//! Output of a server on its console, as evidence when it fails
//! (<https://docs.openstack.org/api-ref/compute/#show-console-output-os-getconsoleoutput-action>).

use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, Reaction};
use serde::Deserialize;
use serde_json::json;

use crate::catalogue::Service;
use crate::cloud::{Cloud, ServiceRequest};
use crate::refusal::BUSY_CODE;

#[derive(Deserialize)]
struct Console {
    #[serde(default)]
    output: Option<String>,
}

impl Cloud<'_> {
    /// Returns the last lines of the console. Empty if the server wrote nothing yet.
    ///
    /// # Errors
    /// `unsupported` if the cloud has no console for it, or does not show it to this user.
    pub(crate) fn console(&self, id: &str, lines: u32) -> Result<String, Fault> {
        let path = format!("/servers/{}/action", encoded(id));
        let body = json!({"os-getConsoleOutput": {"length": lines}});
        match self.read::<Console>(&ServiceRequest {
            body: Some(&body),
            ..ServiceRequest::new(Service::Compute, "POST", &path)
        }) {
            Ok(console) => Ok(last_lines(&console.output.unwrap_or_default(), lines)),
            // Not ready, which is the answer of a server that is being made or that failed before it ran.
            Err(fault) if fault.code == BUSY_CODE => Err(unsupported(fault)),
            Err(fault) if fault.reaction == Reaction::Retry => Err(fault),
            // The reason for which the host wants the output must not be hidden by this.
            Err(fault) => Err(unsupported(fault)),
        }
    }
}

fn unsupported(fault: Fault) -> Fault {
    Fault { reaction: Reaction::Unsupported, ..fault }
}

/// Returns the last lines. Some clouds give more than was requested.
fn last_lines(text: &str, lines: u32) -> String {
    let all: Vec<&str> = text.lines().map(str::trim_end).collect();
    let all = all.strip_suffix(&[""]).unwrap_or(&all);
    let skipped = all.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
    all.get(skipped..).unwrap_or_default().join("\n")
}
