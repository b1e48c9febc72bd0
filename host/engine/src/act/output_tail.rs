//! What a machine wrote last, fetched before it is removed.

use std::sync::Arc;
use std::time::Duration;

use super::{RunContext, calls};
use crate::ports::{CallScope, MAX_OUTPUT_BYTES, MAX_OUTPUT_LINES, Reaction};
use crate::state::InstanceRecord;

/// No failure is held up for longer than this to have its evidence.
const TAIL_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the last lines that an instance's machine wrote, one attempt. None when there is no machine, its driver keeps no
/// output, or it wrote nothing.
pub(super) async fn fetch_output_tail(world: &Arc<RunContext>, record: &InstanceRecord) -> Option<String> {
    let handle = record.handle.as_ref()?;
    let driver = calls::driver_for(world, record).ok()?;
    let context = world.call_context(&record.node, TAIL_TIMEOUT);
    let scope = CallScope { context, section: record.section.clone() };
    match driver.tail(&scope, handle, MAX_OUTPUT_LINES).await {
        Ok(text) => Some(clip_output(&text)).filter(|text| !text.trim().is_empty()),
        Err(fault) => {
            if fault.reaction != Reaction::Unsupported {
                tracing::debug!(node = record.node, instance = record.id, %fault, "its output could not be read");
            }
            None
        }
    }
}

/// The end of a text that a driver gave, within the limit, without what would do something to a terminal.
fn clip_output(text: &str) -> String {
    let text = text.trim_end();
    let from = text.len().saturating_sub(MAX_OUTPUT_BYTES);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text[from..].chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
