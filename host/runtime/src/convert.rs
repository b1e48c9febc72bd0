//! Conversions between the contract's types and the engine's.

use std::time::Duration;

use occopus_engine::ports::{Address, Detail, Fault, Handle, ObservedMachine, Phase, Reaction};

use crate::bindings::driver::exports::occopus::driver::nodes;
use crate::bindings::imports::occopus::types::types as wit;
use crate::grants::NodeAddress;
use crate::host::Call;
use crate::sanitize;

fn reaction_from_wit(reaction: wit::Reaction) -> Reaction {
    match reaction {
        wit::Reaction::Retry => Reaction::Retry,
        wit::Reaction::GiveUp => Reaction::GiveUp,
        wit::Reaction::UnknownOutcome => Reaction::UnknownOutcome,
        wit::Reaction::NotFound => Reaction::NotFound,
        wit::Reaction::Conflict => Reaction::Conflict,
        wit::Reaction::Denied => Reaction::Denied,
        wit::Reaction::NoCapacity => Reaction::NoCapacity,
        wit::Reaction::Unsupported => Reaction::Unsupported,
    }
}

/// Converts a plugin's fault. `section` is the pointer of the plugin's section in the implementation, such as
/// `/resource`.
pub(crate) fn fault_from_wit(fault: wit::Fault, section: &str) -> Fault {
    Fault {
        reaction: reaction_from_wit(fault.reaction),
        code: fault.code,
        message: fault.message,
        retry_after: fault.retry_after_ms.map(Duration::from_millis),
        unreachable: false,
        details: fault.details.into_iter().map(|detail| detail_from_wit(detail, section)).collect(),
    }
}

/// Converts a plugin's detail. `section` is the pointer of the plugin's section in the implementation, such as
/// `/resource`.
pub(crate) fn detail_from_wit(detail: wit::Detail, section: &str) -> Detail {
    let pointer = match detail.pointer.as_str() {
        // A detail without a pointer is about nothing that the user wrote.
        "" => String::new(),
        "#user-data" => "/contextualisation/context_template".to_owned(),
        inside => format!("{section}{inside}"),
    };
    Detail { pointer, message: detail.message }
}

/// Converts a fault for a plugin.
pub(crate) fn fault_to_wit(fault: Fault) -> wit::Fault {
    let reaction = match fault.reaction {
        Reaction::Retry => wit::Reaction::Retry,
        Reaction::GiveUp => wit::Reaction::GiveUp,
        Reaction::UnknownOutcome => wit::Reaction::UnknownOutcome,
        Reaction::NotFound => wit::Reaction::NotFound,
        Reaction::Conflict => wit::Reaction::Conflict,
        Reaction::Denied => wit::Reaction::Denied,
        Reaction::NoCapacity => wit::Reaction::NoCapacity,
        Reaction::Unsupported => wit::Reaction::Unsupported,
    };
    wit::Fault {
        reaction,
        code: fault.code,
        message: fault.message,
        retry_after_ms: fault.retry_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        details: fault
            .details
            .into_iter()
            .map(|detail| wit::Detail { pointer: detail.pointer, message: detail.message })
            .collect(),
    }
}

/// Converts an address of a driver: an IP address or a DNS name, in a zone where the driver may have nodes. Any other
/// address is dropped, with one warning for each text: the machine exists regardless.
fn address_from_wit(call: &Call, address: wit::Address) -> Option<Address> {
    // Clouds report an empty address for none.
    if address.value.is_empty() {
        return None;
    }
    let checked = address.value.parse::<NodeAddress>().map_err(|error| error.to_string());
    let checked = checked.and_then(|node| call.grants.check_node(&node).map(|()| node).map_err(str::to_owned));
    match checked {
        Ok(node) => Some(Address { value: node.to_string(), internal: address.internal }),
        Err(reason) => {
            let shown: String = address.value.chars().take(80).flat_map(char::escape_default).collect();
            if call.services.reported_warnings.is_first_report(&call.plugin, &shown) {
                tracing::warn!(plugin = %call.plugin, node = %call.context.node, "the address `{shown}` of a machine is left out: {reason}");
            }
            None
        }
    }
}

pub(crate) fn address_to_wit(address: &Address) -> wit::Address {
    wit::Address { value: address.value.clone(), internal: address.internal }
}

pub(crate) fn handle_to_wit(handle: &Handle) -> nodes::Handle {
    nodes::Handle { version: handle.version, data: handle.data.clone() }
}

/// Converts a driver's observation, without the secrets of the call.
///
/// # Errors
/// Fails if the handle is longer than the contract allows.
pub(crate) fn observed_from_wit(call: &Call, observed: nodes::Observed) -> Result<ObservedMachine, Fault> {
    sanitize::observed(
        call,
        ObservedMachine {
            handle: Handle { version: observed.handle.version, data: observed.handle.data },
            phase: match observed.phase {
                nodes::Phase::Pending => Phase::Pending,
                nodes::Phase::Running => Phase::Running,
                nodes::Phase::Stopped => Phase::Stopped,
                nodes::Phase::Failed => Phase::Failed,
                nodes::Phase::Gone => Phase::Gone,
                nodes::Phase::Unknown => Phase::Unknown,
            },
            addresses: observed.addresses.into_iter().filter_map(|address| address_from_wit(call, address)).collect(),
            attributes: observed.attributes,
            message: observed.message,
        },
    )
}
