//! Execution of one call of a plugin: a fresh store and instance, three timers, and a typed fault for whatever fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use occopus_engine::ports::{Detail, Fault, Reaction};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use wasmtime::component::{InstancePre, ResourceTableError};
use wasmtime::{Store, Trap, UpdateDeadline};

use crate::bindings::imports::occopus::host::log::Level;
use crate::call_clock::CallClock;
use crate::host::{Call, HostState, KeyDisclosureRefused};
use crate::sanitize;
use crate::secrets::CallSecrets;

/// Time for which a call may go on after it was cancelled, to clean up and to report what happened.
const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// Bytes of a backtrace in the log.
const MAX_TRACE_BYTES: usize = 16 << 10;

/// Code of the fault of a plugin that crashed.
const TRAPPED_CODE: &str = "occopus.plugin-trapped";

/// Possible effects of a function, by which a trap or a time-out is classified.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SideEffects {
    /// The call may have changed something: the outcome is unknown.
    Possible,
    /// The call only reads: it may be repeated.
    None,
}

impl SideEffects {
    fn reaction(self) -> Reaction {
        match self {
            Self::Possible => Reaction::UnknownOutcome,
            Self::None => Reaction::Retry,
        }
    }
}

/// Runs `work` on a fresh instance, as soon as there is a permit for it. It ends early when its compute time is used
/// up, at the call's deadline, and [`CANCEL_GRACE`] after the call was cancelled.
pub(crate) async fn invoke<T, W>(
    instance: &InstancePre<HostState>,
    permits: &Semaphore,
    call: Arc<Call>,
    effects: SideEffects,
    work: W,
) -> Result<T, Fault>
where
    W: AsyncFnOnce(&mut Store<HostState>) -> wasmtime::Result<T>,
{
    let failed = |code: &str, message: String| Fault::new(effects.reaction(), code, message);
    let Ok(_permit) = permits.acquire().await else {
        return Err(Fault::new(Reaction::Retry, "occopus.shutting-down", "the host is shutting down"));
    };
    let mut store = Store::new(instance.engine(), HostState::new(Arc::clone(&call)));
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(call.services.limits.transfer_bytes);
    let clock = call.clock.clone();
    limit_compute_time(&mut store, clock.clone(), call.services.limits.compute_time());
    let cancelled = async {
        call.context.cancel.cancelled().await;
        tokio::time::sleep(CANCEL_GRACE).await;
    };
    let plugin = call.plugin.clone();
    let outcome = tokio::select! {
        done = clock.measure(work(&mut store)) => done.map_err(|error| fault_from_error(&call, &error, effects)),
        () = sleep_until(call.deadline) => Err(failed(
            "occopus.plugin-timeout",
            format!("the plugin `{plugin}` gave no answer within {:?}", call.context.timeout),
        )),
        () = cancelled => Err(failed("occopus.cancelled", format!("the call of the plugin `{plugin}` was cancelled"))),
    };
    call.linear_memory_bytes.store(store.data().limits.linear_memory_bytes, Ordering::Relaxed);
    let output =
        redacted_output(&store.data().output.contents(), call.services.limits.log_bytes, call.secrets.as_ref());
    for line in output.lines() {
        call.log(Level::Debug, line);
    }
    outcome.map_err(|mut fault| {
        if fault.code == TRAPPED_CODE {
            fault.details.extend(last_output_lines(&output).map(|message| Detail { pointer: String::new(), message }));
        }
        finish_fault(&call, fault)
    })
}

/// Returns a plugin's standard output and error without secrets. Output that fills `max_bytes` was cut off, perhaps in the
/// middle of a secret.
fn redacted_output(bytes: &[u8], max_bytes: usize, secrets: Option<&CallSecrets>) -> String {
    let is_cut = bytes.len() >= max_bytes;
    let text = String::from_utf8_lossy(if is_cut { without_partial_character(bytes) } else { bytes });
    match secrets {
        None => text.into_owned(),
        Some(secrets) if !is_cut => secrets.redact(&text),
        Some(secrets) => secrets.redact_truncated(&text),
    }
}

/// Returns the bytes without a character at their end that is not complete: it would hide the beginning of a secret.
fn without_partial_character(bytes: &[u8]) -> &[u8] {
    let start = bytes.len().saturating_sub(4);
    for at in (start..bytes.len()).rev() {
        match std::str::from_utf8(&bytes[at..]) {
            Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => return &bytes[..at],
            Ok(_) => return bytes,
            Err(_) => {}
        }
    }
    bytes
}

/// Returns the last lines that a plugin wrote before it crashed: they hold the cause.
fn last_output_lines(output: &str) -> Option<String> {
    const MAX_LINES: usize = 6;
    const MAX_CHARS: usize = 600;
    let mut lines: Vec<_> = output.lines().rev().filter(|line| !line.trim().is_empty()).take(MAX_LINES).collect();
    lines.reverse();
    let text: String = lines.join("\n").chars().take(MAX_CHARS).collect();
    (!text.is_empty()).then(|| format!("it wrote last: {text}"))
}

/// Interrupts a plugin that computes at every tick of the epoch, so that timers can fire, and ends it after `limit` of
/// computing.
fn limit_compute_time(store: &mut Store<HostState>, clock: CallClock, limit: Duration) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if clock.compute_time() > limit {
            return Ok(UpdateDeadline::Interrupt);
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
}

/// Converts a trap or another error of a call; Wasmtime's backtrace goes to the log.
fn fault_from_error(call: &Call, error: &wasmtime::Error, effects: SideEffects) -> Fault {
    let trace = call.sanitized(&format!("{error:?}"), MAX_TRACE_BYTES);
    tracing::debug!(plugin = %call.plugin, node = %call.context.node, "{trace}");
    let plugin = &call.plugin;
    let (code, message) = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => (
            "occopus.plugin-compute",
            format!(
                "the plugin `{plugin}` computed for more than {} ms and was ended",
                call.services.limits.compute_ms
            ),
        ),
        Some(Trap::StackOverflow) => ("occopus.plugin-stack", format!("the plugin `{plugin}` used up its stack")),
        Some(Trap::UnreachableCodeReached) => {
            (TRAPPED_CODE, format!("the plugin `{plugin}` crashed (it panicked, or ran out of memory)"))
        }
        Some(trap) => (TRAPPED_CODE, format!("the plugin `{plugin}` crashed: {trap}")),
        None if let Some(refusal) = error.downcast_ref::<KeyDisclosureRefused>() => {
            let message = format!(
                "the plugin `{plugin}` was ended: {refusal}, and with a key it could sign for others. The host signs requests for AWS \
                 itself (`aws-sign`): rebuild the plugin with an SDK that has it"
            );
            return finish_fault(call, Fault::new(Reaction::GiveUp, "host.key-refused", message));
        }
        None if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) => {
            let limit = call.services.limits.handles;
            let message = format!(
                "the plugin `{plugin}` needs more than {limit} handles at the same time (requests, streams, timers); does it \
                 give back what it no longer uses? The limit is `limits.handles`"
            );
            ("occopus.plugin-handles", message)
        }
        // Wasmtime has no type for an error of its limiter.
        None if root_cause(error).contains("growing memory") => {
            let limit = call.services.limits.memory_bytes >> 20;
            ("occopus.plugin-memory", format!("the plugin `{plugin}` needs more memory than its limit of {limit} MiB"))
        }
        None => ("occopus.plugin-failed", format!("the plugin `{plugin}` could not be called: {}", root_cause(error))),
    };
    finish_fault(call, Fault::new(effects.reaction(), code, message))
}

fn root_cause(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

/// Takes the secrets out of a fault and adds what the host has recorded: the refusals of the call, whether a server was
/// reached, and that nothing can have happened if nothing was sent.
pub(crate) fn finish_fault(call: &Call, mut fault: Fault) -> Fault {
    fault.unreachable = call.unreachable.load(Ordering::Relaxed);
    if fault.reaction == Reaction::UnknownOutcome && call.possible_effects.load(Ordering::Relaxed) == 0 {
        fault.reaction = Reaction::Retry;
    }
    let permanent_code = *call.permanent_code.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(code) = permanent_code.filter(|_| fault.reaction == Reaction::Retry) {
        fault.reaction = Reaction::GiveUp;
        fault.code = code.to_owned();
    }
    sanitize::fault(call, &mut fault);
    let mut refusals = call.refusals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    fault.details.extend(refusals.drain(..).map(|message| Detail { pointer: String::new(), message }));
    fault
}

/// Returns the deadline of a call with this time-out, which is at most a day away.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_at_the_edge_of_the_room_ends_in_no_part_of_a_secret() {
        let values = [("password".to_owned(), zeroize::Zeroizing::new("correct-horse-battery".to_owned()))];
        let secrets = CallSecrets::new(values, std::collections::BTreeSet::new());
        let text = "it is correct-horse-battery, or correct-\nhorse-battery";
        for most in 0..=text.len() {
            let told = redacted_output(&text.as_bytes()[..most], most, Some(&secrets));
            assert!(!told.contains("cor") && !told.contains("hor"), "{most}: {told}");
        }
        let values = [("password".to_owned(), zeroize::Zeroizing::new("pass-w\u{f6}rt\u{20ac}-chen".to_owned()))];
        let accented = CallSecrets::new(values, std::collections::BTreeSet::new());
        let text = "it is pass-w\u{f6}rt\u{20ac}-chen";
        for most in 0..=text.len() {
            let told = redacted_output(&text.as_bytes()[..most], most, Some(&accented));
            assert!(!told.contains("pas"), "{most}: {told}");
        }
        assert_eq!(redacted_output(b"a cor", 6, Some(&secrets)), "a cor", "there was room for more");
        assert_eq!(redacted_output(b"a\xff", 2, None), "a\u{fffd}");
    }
}
