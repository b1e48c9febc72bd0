//! Keys of the engine's entries in the store: the only place that writes or parses them.

use crate::id::InfrastructureId;

/// Prefix of everything of infrastructures but their summaries.
const INFRA: &str = "infra/";
/// Prefix of all keys of infrastructures: what [`INFRA`] and [`INFRASTRUCTURES`] have in common, so that one watch follows
/// both.
pub(crate) const WATCHED: &str = "infra";
/// Prefix of the summary records: one for each infrastructure, so that a list reads nothing else.
pub(crate) const INFRASTRUCTURES: &str = "infrastructure/";
/// Prefix of the node definitions.
pub(crate) const DEFINITIONS: &str = "definition/";

// Parts of an infrastructure's keys that changes are told apart by.
const EVENT: &str = "event/";
const INSTANCE: &str = "instance/";
const OWNER: &str = "owner";
const REQUEST: &str = "request/";
const SUSPENDED: &str = "suspended";

/// Part of an infrastructure's state that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyPart<'a> {
    Summary,
    /// Instance with this id.
    Instance(&'a str),
    Event,
    Request,
    Owner,
    Suspension,
    Other,
}

/// Returns the id of the infrastructure that a key belongs to, and the part of its state; `None` for another key.
pub(crate) fn parse(key: &str) -> Option<(InfrastructureId, KeyPart<'_>)> {
    if let Some(id) = key.strip_prefix(INFRASTRUCTURES) {
        return Some((id.parse().ok()?, KeyPart::Summary));
    }
    let (id, rest) = key.strip_prefix(INFRA)?.split_once('/')?;
    let part = match rest {
        OWNER => KeyPart::Owner,
        SUSPENDED => KeyPart::Suspension,
        _ if rest.starts_with(EVENT) => KeyPart::Event,
        _ if rest.starts_with(REQUEST) => KeyPart::Request,
        _ => rest.strip_prefix(INSTANCE).map_or(KeyPart::Other, KeyPart::Instance),
    };
    Some((id.parse().ok()?, part))
}

/// Returns the key of an infrastructure's summary record.
pub(crate) fn infrastructure(id: &InfrastructureId) -> String {
    format!("{INFRASTRUCTURES}{id}")
}

/// Returns the prefix of everything else of an infrastructure.
pub(crate) fn all(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/")
}

/// Returns the key of the desired state.
pub(crate) fn desired(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/desired")
}

/// Returns the key of the state before a change that has not succeeded yet.
pub(crate) fn previous(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/previous")
}

/// Prefix of the last events of infrastructures that were rolled back.
pub(crate) const ROLLED_BACK: &str = "gone/";

/// Returns the key of the last events of an infrastructure that was rolled back.
pub(crate) fn rolled_back(id: &InfrastructureId) -> String {
    format!("{ROLLED_BACK}{id}")
}

/// Returns the key of the owner, which is bound to a lease. Every write of the owner compares its revision, the fencing
/// token.
pub(crate) fn owner(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/{OWNER}")
}

/// Returns the key of the number of the last event, which every transaction rewrites.
pub(crate) fn head(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/head")
}

/// Returns the prefix of the instances.
pub(crate) fn instances(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/{INSTANCE}")
}

/// Returns the key of an instance.
pub(crate) fn instance(id: &InfrastructureId, instance: &str) -> String {
    format!("{}{instance}", instances(id))
}

/// Returns the key of the target of a node that was scaled.
pub(crate) fn target(id: &InfrastructureId, node: &str) -> String {
    format!("{}{node}", targets(id))
}

/// Returns the prefix of the targets.
pub(crate) fn targets(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/target/")
}

/// Returns the key of a request to scale that the owner has not applied yet.
pub(crate) fn request(id: &InfrastructureId, request: &str) -> String {
    format!("{}{request}", requests(id))
}

/// Returns the prefix of the requests.
pub(crate) fn requests(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/{REQUEST}")
}

/// Returns the key of the failures of a node, present while it fails again and again.
pub(crate) fn failing(id: &InfrastructureId, node: &str) -> String {
    format!("{}{node}", all_failing(id))
}

/// Returns the prefix of the failures of all nodes.
pub(crate) fn all_failing(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/failing/")
}

/// Returns the key of the marker that is present while maintenance is suspended.
pub(crate) fn suspended(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/{SUSPENDED}")
}

/// Returns the key of the marker that is present while the last reported event of the two is the suspension.
pub(crate) fn reported_suspended(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/told/suspended")
}

/// Returns the key of the request for the end of a hold: present until all instances that looked dead are replaced, or
/// until the request is too old.
pub(crate) fn release(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/release")
}

/// Returns the key of the position of a reader of the events.
pub(crate) fn cursor(id: &InfrastructureId, reader: &str) -> String {
    format!("{INFRA}{id}/cursor/{reader}")
}

/// Returns the key of the request to end maintenance; its value is the fencing token of the owner that is meant.
pub(crate) fn detach(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/detach")
}

/// Returns the prefix of the events.
pub(crate) fn events(id: &InfrastructureId) -> String {
    format!("{INFRA}{id}/{EVENT}")
}

/// Returns the key of an event. Leading zeros make the order of the keys that of the numbers.
pub(crate) fn event(id: &InfrastructureId, number: u64) -> String {
    format!("{}{number:020}", events(id))
}

/// Returns the key of the definitions of a type.
pub(crate) fn definition(node_type: &str) -> String {
    format!("{DEFINITIONS}{node_type}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_parsed_as_it_is_written() {
        let id: &InfrastructureId = &"a.b-c".parse().unwrap();
        for (key, part) in [
            (infrastructure(id), KeyPart::Summary),
            (instance(id, "i"), KeyPart::Instance("i")),
            (event(id, 7), KeyPart::Event),
            (request(id, "r"), KeyPart::Request),
            (owner(id), KeyPart::Owner),
            (suspended(id), KeyPart::Suspension),
            (desired(id), KeyPart::Other),
            (previous(id), KeyPart::Other),
            (head(id), KeyPart::Other),
            (target(id, "owner"), KeyPart::Other),
            (failing(id, "event/1"), KeyPart::Other),
            (reported_suspended(id), KeyPart::Other),
            (release(id), KeyPart::Other),
            (cursor(id, "suspended"), KeyPart::Other),
            (detach(id), KeyPart::Other),
        ] {
            assert_eq!(parse(&key), Some((id.clone(), part)), "{key}");
            assert!(key.starts_with(WATCHED), "{key} is not watched");
        }
        for other in [
            definition("t"),
            rolled_back(id),
            "infra".into(),
            "infra/x".into(),
            "infra/a b/head".into(),
            "service/x/owner".into(),
        ] {
            assert_eq!(parse(&other), None, "{other}");
        }
    }
}
