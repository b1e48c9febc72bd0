//! Sanitising of plugins' answers before they are kept: without the call's secrets, and of bounded size.

use occopus_engine::ports::{Detail, Fault, Handle, ObservedMachine, Reaction};

use crate::host::{Call, truncated};

/// Bytes of a handle, by the contract.
const MAX_HANDLE_BYTES: usize = 4 << 10;
/// Number of addresses of a machine.
const MAX_ADDRESSES: usize = 64;
/// Number of attributes of a machine.
const MAX_ATTRIBUTES: usize = 256;
/// Bytes of an attribute's name.
const MAX_ATTRIBUTE_NAME_BYTES: usize = 256;
/// Bytes of an attribute's value.
const MAX_ATTRIBUTE_VALUE_BYTES: usize = 16 << 10;
/// Bytes of all attributes of a machine.
const MAX_ATTRIBUTES_TOTAL_BYTES: usize = 64 << 10;
/// Bytes of a fault's code.
const MAX_CODE_BYTES: usize = 128;
/// Bytes of a detail's pointer.
const MAX_POINTER_BYTES: usize = 1 << 10;
/// Bytes of a message to users.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Number of details of a fault, or results of a check.
const MAX_DETAILS: usize = 32;

impl Call {
    /// Returns a text of the plugin without secrets, and at most `max_bytes` of it.
    pub(crate) fn sanitized(&self, text: &str, max_bytes: usize) -> String {
        let Some(secrets) = &self.secrets else { return truncated(text, max_bytes) };
        // Text far behind the limit is not searched.
        let searched = 4 * max_bytes;
        let mut sanitized = truncated(&secrets.redact_prefix(text, searched), max_bytes);
        if text.len() > searched && !sanitized.ends_with('…') {
            sanitized.push('…');
        }
        sanitized
    }

    /// Returns a message to users without secrets, and at most [`MAX_MESSAGE_BYTES`] of it.
    pub(crate) fn sanitized_message(&self, text: &str) -> String {
        self.sanitized(text, MAX_MESSAGE_BYTES)
    }

    /// Logs a warning about an answer that is not kept as it is.
    fn warn_of_altered_answer(&self, content: &str) {
        let (plugin, node) = (&self.plugin, &self.context.node);
        let line = format!("the plugin `{plugin}` answered with {content}");
        if self.consume_log_budget(line.len()) {
            tracing::warn!(plugin = %plugin, node = %node, "{line}");
        }
    }
}

/// Returns an observation as it may be stored.
///
/// # Errors
/// Fails if the handle is longer than the contract allows: truncated, it would mean nothing to the driver.
pub(crate) fn observed(call: &Call, observed: ObservedMachine) -> Result<ObservedMachine, Fault> {
    let ObservedMachine { handle, phase, mut addresses, attributes, message } = observed;
    if addresses.len() > MAX_ADDRESSES {
        call.warn_of_altered_answer(&format!("{} addresses of a machine; {MAX_ADDRESSES} are kept", addresses.len()));
        addresses.truncate(MAX_ADDRESSES);
    }
    // With asterisks in it, it would not be an address any more.
    addresses.retain(|address| {
        let is_kept = call.redact(&address.value) == address.value;
        if !is_kept {
            call.warn_of_altered_answer(
                "an address of a machine with a value of the credentials in it; it is left out",
            );
        }
        is_kept
    });
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
        let message =
            format!("the handle of a machine has {} bytes; at most {MAX_HANDLE_BYTES} are allowed", data.len());
        return Err(Fault::new(Reaction::UnknownOutcome, "occopus.bad-answer", message));
    }
    // Values of fewer than eight characters are left: one may stand there by chance, and the driver would not recognise
    // its machine again.
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
        let attribute =
            (call.sanitized(&name, MAX_ATTRIBUTE_NAME_BYTES), call.sanitized(&value, MAX_ATTRIBUTE_VALUE_BYTES));
        let Some(rest) = left.checked_sub(attribute.0.len() + attribute.1.len()) else { break };
        left = rest;
        kept.push(attribute);
    }
    if kept.len() < given {
        call.warn_of_altered_answer(&format!("{given} attributes of a machine; {} of them are kept", kept.len()));
    }
    kept
}

/// Takes the secrets out of a fault of the plugin, and bounds its size.
pub(crate) fn fault(call: &Call, fault: &mut Fault) {
    fault.code = call.sanitized(&fault.code, MAX_CODE_BYTES);
    fault.message = call.sanitized_message(&fault.message);
    fault.details.truncate(MAX_DETAILS);
    for detail in &mut fault.details {
        self::detail(call, detail);
    }
}

/// Takes the secrets out of one detail, and bounds its size.
pub(crate) fn detail(call: &Call, detail: &mut Detail) {
    detail.pointer = call.sanitized(&detail.pointer, MAX_POINTER_BYTES);
    detail.message = call.sanitized_message(&detail.message);
}

/// Takes the secrets out of pairs of texts, such as the details of a check, and bounds their size.
pub(crate) fn pairs(call: &Call, pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs
        .into_iter()
        .take(MAX_DETAILS)
        .map(|(name, value)| (call.sanitized_message(&name), call.sanitized_message(&value)))
        .collect()
}
