//! Output of a machine on its console, as evidence when it fails
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use occopus_sdk::{Fault, Reaction};
use roxmltree::Document;

use crate::api::{Api, Effect, Form};
use crate::instances::expect_document;
use crate::xml::text;

impl Api<'_> {
    /// Returns the last lines of the console. Empty if the machine wrote nothing yet.
    ///
    /// # Errors
    /// `unsupported` if the cloud has no console for it, or does not show it to this user.
    pub(crate) fn console(&self, id: &str, lines: u32) -> Result<String, Fault> {
        let form = || Form::new("GetConsoleOutput").add("InstanceId", id);
        // Some instance types keep what they wrote at their start only, and refuse to show the latest.
        let answer = match self.call(Effect::None, form().add("Latest", "true"), output) {
            Err(fault) if matches!(fault.reaction, Reaction::Unsupported | Reaction::GiveUp) => {
                self.call(Effect::None, form(), output)
            }
            answer => answer,
        };
        match answer {
            Ok(text) => Ok(last_lines(&text, lines)),
            Err(fault) if fault.reaction == Reaction::Retry && fault.code != crate::refusal::NOT_FOUND_CODE => {
                Err(fault)
            }
            // The reason for which the host wants the output must not be hidden by this.
            Err(fault) => Err(Fault { reaction: Reaction::Unsupported, ..fault }),
        }
    }
}

/// Decodes the output; none if it is another document, or not base64.
fn output(document: &Document) -> Option<String> {
    expect_document("GetConsoleOutputResponse")(document)?;
    let encoded: String = text(document.root_element(), "output").unwrap_or("").split_whitespace().collect();
    let bytes = STANDARD.decode(encoded).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_lines(text: &str, lines: u32) -> String {
    let all: Vec<&str> = text.lines().map(str::trim_end).collect();
    let all = all.strip_suffix(&[""]).unwrap_or(&all);
    let skipped = all.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
    all.get(skipped..).unwrap_or_default().join("\n")
}
