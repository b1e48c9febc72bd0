//! One call of a plugin: a fresh store and instance, three timers, and a typed fault for whatever goes wrong.

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

/// How long a call may go on after the user gave up, to tidy up and to tell what happened.
const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// Bytes of a crash in the log.
const MAX_TRACE_BYTES: usize = 16 << 10;

/// Code of the fault of a plugin that crashed.
const TRAPPED_CODE: &str = "occopus.plugin-trapped";

/// What a trap or a time-out means in this function.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SideEffects {
    /// It may have changed something: the outcome is unknown.
    Possible,
    /// It only looks: it may be repeated.
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

/// Runs `work` on a fresh instance.
pub(crate) async fn invoke<T, W>(
    instance: &InstancePre<HostState>,
    slots: &Semaphore,
    call: Arc<Call>,
    acts: SideEffects,
    work: W,
) -> Result<T, Fault>
where
    W: AsyncFnOnce(&mut Store<HostState>) -> wasmtime::Result<T>,
{
    let ended = |code: &str, message: String| Fault::new(acts.reaction(), code, message);
    let Ok(_slot) = slots.acquire().await else {
        return Err(Fault::new(Reaction::Retry, "occopus.shutting-down", "the host is shutting down"));
    };
    let mut store = Store::new(instance.engine(), HostState::new(Arc::clone(&call)));
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(call.services.limits.transfer_bytes);
    let busy = call.clock.clone();
    limit_compute_time(&mut store, busy.clone(), call.services.limits.compute_time());
    let cancelled = async {
        call.context.cancel.cancelled().await;
        tokio::time::sleep(CANCEL_GRACE).await;
    };
    let plugin = call.plugin.clone();
    let outcome = tokio::select! {
        done = busy.measure(work(&mut store)) => done.map_err(|error| fault_from_error(&call, &error, acts)),
        () = sleep_until(call.deadline) => Err(ended(
            "occopus.plugin-timeout",
            format!("the plugin `{plugin}` gave no answer within {:?}", call.context.timeout),
        )),
        () = cancelled => Err(ended("occopus.cancelled", format!("the call of the plugin `{plugin}` was cancelled"))),
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

/// Returns what a plugin wrote to its standard output and error, of which `most` bytes are taken in, without secrets. Where there was
/// no room left, it may have gone on in the middle of one.
fn redacted_output(bytes: &[u8], most: usize, secrets: Option<&CallSecrets>) -> String {
    let text = String::from_utf8_lossy(bytes);
    match secrets {
        None => text.into_owned(),
        Some(secrets) if bytes.len() < most => secrets.redact(&text),
        Some(secrets) => secrets.redact_truncated(&text),
    }
}

/// What a plugin wrote before it crashed: the end of it says why.
fn last_output_lines(output: &str) -> Option<String> {
    const MAX_LINES: usize = 6;
    const MAX_CHARS: usize = 600;
    let mut lines: Vec<_> = output.lines().rev().filter(|line| !line.trim().is_empty()).take(MAX_LINES).collect();
    lines.reverse();
    let words: String = lines.join("\n").chars().take(MAX_CHARS).collect();
    (!words.is_empty()).then(|| format!("it wrote last: {words}"))
}

/// A plugin that computes is interrupted at every tick of the epoch, so that the timers get their turn; after so much
/// computing it is ended.
fn limit_compute_time(store: &mut Store<HostState>, busy: CallClock, most: Duration) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if busy.compute_time() > most {
            return Ok(UpdateDeadline::Interrupt);
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
}

/// A trap in words; Wasmtime's backtrace goes to the log.
fn fault_from_error(call: &Call, error: &wasmtime::Error, acts: SideEffects) -> Fault {
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
        None if let Some(refused) = error.downcast_ref::<KeyDisclosureRefused>() => {
            let message = format!(
                "the plugin `{plugin}` was ended: {refused}, and with a key it could sign for others. The host signs requests for AWS \
                 itself (`aws-sign`): the plugin has to be built anew with an SDK that has it"
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
        // Wasmtime has no type for what its limiter refused.
        None if root_cause(error).contains("growing memory") => {
            let limit = call.services.limits.memory_bytes >> 20;
            ("occopus.plugin-memory", format!("the plugin `{plugin}` needs more memory than its limit of {limit} MiB"))
        }
        None => ("occopus.plugin-failed", format!("the plugin `{plugin}` could not be called: {}", root_cause(error))),
    };
    finish_fault(call, Fault::new(acts.reaction(), code, message))
}

fn root_cause(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

/// Takes the secrets out of a fault and adds what the host knows: what was refused in the call, whether there was a server,
/// and that nothing can have happened when nothing was sent.
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

/// When a call that may take this long has to end.
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
        assert_eq!(redacted_output(b"a cor", 6, Some(&secrets)), "a cor", "there was room for more");
        assert_eq!(redacted_output(b"a\xff", 2, None), "a\u{fffd}");
    }
}
