//! The keys of the store.

/// One short record for each infrastructure, so that a list reads nothing else.
pub(crate) const INFRASTRUCTURES: &str = "infrastructure/";
/// Node definitions, by type.
pub(crate) const DEFINITIONS: &str = "definition/";

/// The short record.
pub(crate) fn infrastructure(id: &str) -> String {
    format!("{INFRASTRUCTURES}{id}")
}

/// The start of everything else of an infrastructure.
pub(crate) fn all(id: &str) -> String {
    format!("infra/{id}/")
}

/// What should exist.
pub(crate) fn desired(id: &str) -> String {
    format!("infra/{id}/desired")
}

/// What was there before a change that has not succeeded yet.
pub(crate) fn previous(id: &str) -> String {
    format!("infra/{id}/previous")
}

/// The start of the last events of infrastructures that were rolled back.
pub(crate) const ROLLED_BACK: &str = "gone/";

/// The last events of an infrastructure that was rolled back.
pub(crate) fn rolled_back(id: &str) -> String {
    format!("{ROLLED_BACK}{id}")
}

/// Who works on it; hangs on a lease. Every write compares its revision.
pub(crate) fn owner(id: &str) -> String {
    format!("infra/{id}/owner")
}

/// Number of the last event, rewritten in every transaction.
pub(crate) fn head(id: &str) -> String {
    format!("infra/{id}/head")
}

/// The start of the instances.
pub(crate) fn instances(id: &str) -> String {
    format!("infra/{id}/instance/")
}

/// One instance.
pub(crate) fn instance(id: &str, instance: &str) -> String {
    format!("infra/{id}/instance/{instance}")
}

/// How many instances of a node there are to be, once it was scaled.
pub(crate) fn target(id: &str, node: &str) -> String {
    format!("{}{node}", targets(id))
}

/// The start of those numbers.
pub(crate) fn targets(id: &str) -> String {
    format!("infra/{id}/target/")
}

/// A request that the owner has not taken in.
pub(crate) fn request(id: &str, request: &str) -> String {
    format!("{}{request}", requests(id))
}

/// The start of the requests.
pub(crate) fn requests(id: &str) -> String {
    format!("infra/{id}/request/")
}

/// How often a node has failed, while it does.
pub(crate) fn failing(id: &str, node: &str) -> String {
    format!("{}{node}", all_failing(id))
}

/// The start of those.
pub(crate) fn all_failing(id: &str) -> String {
    format!("infra/{id}/failing/")
}

/// Is there while the infrastructure is not to be maintained.
pub(crate) fn suspended(id: &str) -> String {
    format!("infra/{id}/suspended")
}

/// Is there while reporters have been told that it is suspended.
pub(crate) fn reported_suspended(id: &str) -> String {
    format!("infra/{id}/told/suspended")
}

/// Is there until what looked dead was replaced, however much it is, or the request is too old; with the time of the request.
pub(crate) fn release(id: &str) -> String {
    format!("infra/{id}/release")
}

/// How far a reader of the events has come that goes on later.
pub(crate) fn cursor(id: &str, reader: &str) -> String {
    format!("infra/{id}/cursor/{reader}")
}

/// Asks the owner with this fencing number to let go.
pub(crate) fn detach(id: &str) -> String {
    format!("infra/{id}/detach")
}

/// The start of the events.
pub(crate) fn events(id: &str) -> String {
    format!("infra/{id}/event/")
}

/// One event. The zeros make the order of the keys that of the numbers.
pub(crate) fn event(id: &str, number: u64) -> String {
    format!("infra/{id}/event/{number:020}")
}

/// The definitions of a type.
pub(crate) fn definition(node_type: &str) -> String {
    format!("{DEFINITIONS}{node_type}")
}

/// Whether an infrastructure may have this id: it becomes part of keys.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
