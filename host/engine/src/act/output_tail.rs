//! The last output of a machine, fetched before it is removed.

use std::sync::Arc;
use std::time::Duration;

use super::{RunContext, calls};
use crate::ports::{CallScope, MAX_OUTPUT_BYTES, MAX_OUTPUT_LINES, Reaction};
use crate::state::InstanceRecord;

/// Longest time for which a failure is held up to fetch the output.
const TAIL_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the last lines that an instance's machine wrote, in one attempt. `None` if there is no machine, its driver
/// keeps no output, the call fails, or the output is blank.
pub(super) async fn fetch_output_tail(ctx: &Arc<RunContext>, record: &InstanceRecord) -> Option<String> {
    let handle = record.handle.as_ref()?;
    let driver = calls::driver_for(ctx, record).ok()?;
    let context = ctx.call_context(&record.node, TAIL_TIMEOUT);
    let scope = CallScope { context, section: record.section.clone() };
    match driver.tail(&scope, handle, MAX_OUTPUT_LINES).await {
        Ok(text) => Some(clip_output(&text)).filter(|text| !text.trim().is_empty()),
        Err(fault) => {
            if fault.reaction != Reaction::Unsupported {
                tracing::debug!(node = record.node, instance = record.id, %fault, "cannot read the machine's output");
            }
            None
        }
    }
}

/// Returns the end of a driver's text, at most [`MAX_OUTPUT_BYTES`] of it, without control characters but `\n` and `\t`.
fn clip_output(text: &str) -> String {
    let text = text.trim_end();
    let from = text.len().saturating_sub(MAX_OUTPUT_BYTES);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text[from..].chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
