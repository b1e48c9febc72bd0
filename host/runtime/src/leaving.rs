//! Answers of plugins as they may be kept: without the call's secrets, and no more of it than anybody needs.

use occopus_engine::ports::{Detail, Fault, Handle, Observed, Reaction};

use crate::host::{Call, shortened};

/// Bytes of a handle, by the contract.
const HANDLE: usize = 4 << 10;
/// Addresses of a machine.
const ADDRESSES: usize = 64;
/// Attributes of a machine, and bytes of a name, of a value, and of all together.
const ATTRIBUTES: usize = 256;
const ATTRIBUTE_NAME: usize = 256;
const ATTRIBUTE: usize = 16 << 10;
const ALL_ATTRIBUTES: usize = 64 << 10;
/// Bytes of a fault's code, of a pointer, and of what is said to people.
const CODE: usize = 128;
const POINTER: usize = 1 << 10;
const MESSAGE: usize = 4 << 10;
/// Details of a fault, or results of a check.
const DETAILS: usize = 32;

impl Call {
    /// Returns a text of the plugin's without secrets, and at most so many bytes of it.
    pub(crate) fn told(&self, text: &str, most: usize) -> String {
        let Some(secrets) = &self.secrets else { return shortened(text, most) };
        // What is far behind is not searched.
        let searched = 4 * most;
        let mut told = shortened(&secrets.redact_beginning(text, searched), most);
        if text.len() > searched && !told.ends_with('…') {
            told.push('…');
        }
        told
    }

    /// The same of one sentence to people.
    pub(crate) fn message(&self, text: &str) -> String {
        self.told(text, MESSAGE)
    }

    /// Tells the operator of an answer that is not kept as it is.
    fn cut(&self, what: &str) {
        let (plugin, node) = (&self.plugin, &self.context.node);
        let line = format!("the plugin `{plugin}` answered with {what}");
        if self.may_log(line.len()) {
            tracing::warn!(plugin = %plugin, node = %node, "{line}");
        }
    }
}

/// A machine, as it may be stored.
///
/// # Errors
/// When its handle is longer than the contract allows: cut off it would mean nothing to the driver.
pub(crate) fn machine(call: &Call, observed: Observed) -> Result<Observed, Fault> {
    let Observed { handle, phase, mut addresses, attributes, message } = observed;
    if addresses.len() > ADDRESSES {
        call.cut(&format!("{} addresses of a machine; {ADDRESSES} are kept", addresses.len()));
        addresses.truncate(ADDRESSES);
    }
    // With asterisks in it, it would be no address any more.
    addresses.retain(|address| call.redact(&address.value) == address.value);
    Ok(Observed {
        handle: self::handle(call, handle)?,
        phase,
        addresses,
        attributes: self::attributes(call, attributes),
        message: message.map(|message| call.message(&message)),
    })
}

fn handle(call: &Call, handle: Handle) -> Result<Handle, Fault> {
    let Handle { version, data } = handle;
    if data.len() > HANDLE {
        let message = format!("the handle of a machine has {} bytes; {HANDLE} are the most", data.len());
        return Err(Fault::new(Reaction::UnknownOutcome, "occopus.bad-answer", message));
    }
    // Values of fewer than eight characters are left: one may stand there by chance, and the driver would not know its machine
    // again.
    if !call.secrets.as_ref().is_some_and(|secrets| secrets.is_in(&data)) {
        return Ok(Handle { version, data });
    }
    call.cut(
        "a value of its credential in a machine's handle, where `***` is kept instead. If the value is no secret, the plugin's schema of \
         credentials has to say so (`x-public`)",
    );
    Ok(Handle { version, data: call.redact(&data) })
}

fn attributes(call: &Call, attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    let given = attributes.len();
    let mut left = ALL_ATTRIBUTES;
    let mut kept = Vec::new();
    for (name, value) in attributes.into_iter().take(ATTRIBUTES) {
        let cut = (call.told(&name, ATTRIBUTE_NAME), call.told(&value, ATTRIBUTE));
        let Some(rest) = left.checked_sub(cut.0.len() + cut.1.len()) else { break };
        left = rest;
        kept.push(cut);
    }
    if kept.len() < given {
        call.cut(&format!("{given} attributes of a machine; {} of them are kept", kept.len()));
    }
    kept
}

/// Takes the secrets out of a fault of the plugin's, and what is too much.
pub(crate) fn fault(call: &Call, fault: &mut Fault) {
    fault.code = call.told(&fault.code, CODE);
    fault.message = call.message(&fault.message);
    fault.details.truncate(DETAILS);
    for detail in &mut fault.details {
        self::detail(call, detail);
    }
}

/// The same of one detail.
pub(crate) fn detail(call: &Call, detail: &mut Detail) {
    detail.pointer = call.told(&detail.pointer, POINTER);
    detail.message = call.message(&detail.message);
}

/// The same of pairs of texts, such as what a check found.
pub(crate) fn pairs(call: &Call, pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.into_iter().take(DETAILS).map(|(what, result)| (call.message(&what), call.message(&result))).collect()
}
