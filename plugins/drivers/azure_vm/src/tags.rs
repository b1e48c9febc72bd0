//! Tags: the ownership label, and the user's
//! (<https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations>).

use std::collections::BTreeMap;

use occopus_sdk::{Detail, NodeRequest};

use crate::section::Section;

/// Tag with the instance's id. Set by the host on every machine.
pub(crate) const INSTANCE_TAG: &str = "occopus.instance";
/// Tag with the infrastructure's id.
pub(crate) const INFRASTRUCTURE_TAG: &str = "occopus.infrastructure";

const MAX_TAGS: usize = 50;
const MAX_NAME_CHARS: usize = 512;
const MAX_VALUE_CHARS: usize = 256;

/// Tags as Azure shows them; their names compare without regard to case.
pub(crate) type Tags = BTreeMap<String, String>;

/// Returns the value of a tag.
pub(crate) fn get<'t>(tags: &'t Tags, name: &str) -> Option<&'t str> {
    tags.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Returns the tags of a machine. Ours count more than the user's.
pub(crate) fn of_machine(request: &NodeRequest<Section>) -> Tags {
    let own = request.scope.section.tags.iter().flatten();
    let own = own.map(|(name, value)| (name.clone(), value.to_string()));
    own.filter(|(name, _)| !is_ours(name)).chain(request.labels.iter().cloned()).collect()
}

/// Returns the tags of what an infrastructure shares: with the instance that it was made for, by which it is found when a
/// crash leaves it alone.
pub(crate) fn of_shared(request: &NodeRequest<Section>) -> Tags {
    let kept = [INSTANCE_TAG, INFRASTRUCTURE_TAG];
    request.labels.iter().filter(|(name, _)| kept.contains(&name.as_str())).cloned().collect()
}

fn is_ours(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with("occopus.")
}

/// Adds what Azure does not take of the user's tags.
pub(crate) fn check(request: &NodeRequest<Section>, found: &mut Vec<Detail>) {
    let mut add = |pointer: String, message: String| found.push(Detail { pointer, message });
    let all = of_machine(request).len();
    if all > MAX_TAGS {
        add("/tags".to_owned(), format!("they are {all} with those of Occopus; Azure takes {MAX_TAGS} at most"));
    }
    for (name, value) in request.scope.section.tags.iter().flatten().filter(|(name, _)| !is_ours(name)) {
        let pointer = || format!("/tags/{}", name.replace('~', "~0").replace('/', "~1"));
        let lower = name.to_ascii_lowercase();
        let is_reserved = ["microsoft", "azure", "windows"].iter().any(|prefix| lower.starts_with(prefix));
        let is_bad = |letter: char| letter.is_control() || "<>%&\\?/".contains(letter);
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.contains(is_bad) || is_reserved {
            let message = format!(
                "a name of a tag has 1 to {MAX_NAME_CHARS} characters, none of < > % & \\ ? /, and does not begin with \
                 `microsoft`, `azure` or `windows`"
            );
            add(pointer(), message);
        }
        if value.chars().count() > MAX_VALUE_CHARS {
            add(pointer(), format!("a value of a tag has {MAX_VALUE_CHARS} characters at most"));
        }
    }
}
