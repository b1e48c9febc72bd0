//! Answers of plugins as they may be kept: without the call's secrets, and no more of it than anybody needs.

use occopus_engine::ports::{Detail, Fault, Handle, ObservedMachine, Reaction};

use crate::host::{Call, truncated};

/// Bytes of a handle, by the contract.
const MAX_HANDLE_BYTES: usize = 4 << 10;
/// Addresses of a machine.
const MAX_ADDRESSES: usize = 64;
/// Attributes of a machine, and bytes of a name, of a value, and of all together.
const MAX_ATTRIBUTES: usize = 256;
const MAX_ATTRIBUTE_NAME_BYTES: usize = 256;
const MAX_ATTRIBUTE_VALUE_BYTES: usize = 16 << 10;
const MAX_ATTRIBUTES_TOTAL_BYTES: usize = 64 << 10;
/// Bytes of a fault's code, of a pointer, and of what is said to people.
const MAX_CODE_BYTES: usize = 128;
const MAX_POINTER_BYTES: usize = 1 << 10;
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Details of a fault, or results of a check.
const MAX_DETAILS: usize = 32;

impl Call {
    /// Returns a text of the plugin's without secrets, and at most so many bytes of it.
    pub(crate) fn sanitized(&self, text: &str, most: usize) -> String {
        let Some(secrets) = &self.secrets else { return truncated(text, most) };
        // What is far behind is not searched.
        let searched = 4 * most;
        let mut told = truncated(&secrets.redact_prefix(text, searched), most);
        if text.len() > searched && !told.ends_with('…') {
            told.push('…');
        }
        told
    }

    /// The same of one sentence to people.
    pub(crate) fn sanitized_message(&self, text: &str) -> String {
        self.sanitized(text, MAX_MESSAGE_BYTES)
    }

    /// Tells the operator of an answer that is not kept as it is.
    fn warn_of_altered_answer(&self, what: &str) {
        let (plugin, node) = (&self.plugin, &self.context.node);
        let line = format!("the plugin `{plugin}` answered with {what}");
        if self.consume_log_budget(line.len()) {
            tracing::warn!(plugin = %plugin, node = %node, "{line}");
        }
    }
}

/// A machine, as it may be stored.
///
/// # Errors
/// When its handle is longer than the contract allows: cut off it would mean nothing to the driver.
pub(crate) fn observed(call: &Call, observed: ObservedMachine) -> Result<ObservedMachine, Fault> {
    let ObservedMachine { handle, phase, mut addresses, attributes, message } = observed;
    if addresses.len() > MAX_ADDRESSES {
        call.warn_of_altered_answer(&format!("{} addresses of a machine; {MAX_ADDRESSES} are kept", addresses.len()));
        addresses.truncate(MAX_ADDRESSES);
    }
    for address in &mut addresses {
        address.value = call.redact(&address.value);
    }
    Ok(ObservedMachine {
        handle: self::handle(call, handle)?,
        phase,
        addresses,
        attributes: self::attributes(call, attributes),
        message: message.map(|message| call.sanitized_message(&message)),
    })
}

fn handle(call: &Call, handle: Handle) -> Result<Handle, Fault> {
    let Handle { version, data } = handle;
    if data.len() > MAX_HANDLE_BYTES {
        let message = format!("the handle of a machine has {} bytes; {MAX_HANDLE_BYTES} are the most", data.len());
        return Err(Fault::new(Reaction::UnknownOutcome, "occopus.bad-answer", message));
    }
    // Values of fewer than eight characters are left: one may stand there by chance, and the driver would not know its machine
    // again.
    if !call.secrets.as_ref().is_some_and(|secrets| secrets.occurs_in(&data)) {
        return Ok(Handle { version, data });
    }
    call.warn_of_altered_answer(
        "a value of its credential in a machine's handle, where `***` is kept instead. If the value is no secret, the plugin's schema of \
         credentials has to say so (`x-public`)",
    );
    Ok(Handle { version, data: call.redact(&data) })
}

fn attributes(call: &Call, attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    let given = attributes.len();
    let mut left = MAX_ATTRIBUTES_TOTAL_BYTES;
    let mut kept = Vec::new();
    for (name, value) in attributes.into_iter().take(MAX_ATTRIBUTES) {
        let cut = (call.sanitized(&name, MAX_ATTRIBUTE_NAME_BYTES), call.sanitized(&value, MAX_ATTRIBUTE_VALUE_BYTES));
        let Some(rest) = left.checked_sub(cut.0.len() + cut.1.len()) else { break };
        left = rest;
        kept.push(cut);
    }
    if kept.len() < given {
        call.warn_of_altered_answer(&format!("{given} attributes of a machine; {} of them are kept", kept.len()));
    }
    kept
}

/// Takes the secrets out of a fault of the plugin's, and what is too much.
pub(crate) fn fault(call: &Call, fault: &mut Fault) {
    fault.code = call.sanitized(&fault.code, MAX_CODE_BYTES);
    fault.message = call.sanitized_message(&fault.message);
    fault.details.truncate(MAX_DETAILS);
    for detail in &mut fault.details {
        self::detail(call, detail);
    }
}

/// The same of one detail.
pub(crate) fn detail(call: &Call, detail: &mut Detail) {
    detail.pointer = call.sanitized(&detail.pointer, MAX_POINTER_BYTES);
    detail.message = call.sanitized_message(&detail.message);
}

/// The same of pairs of texts, such as what a check found.
pub(crate) fn pairs(call: &Call, pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs
        .into_iter()
        .take(MAX_DETAILS)
        .map(|(what, result)| (call.sanitized_message(&what), call.sanitized_message(&result)))
        .collect()
}
