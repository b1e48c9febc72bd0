//! What examples leave to the user: `replace_with_...`. It can be rendered and looked at, and not be built.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::Implementation;
use crate::yaml::{Item, Value};

const PLACEHOLDER_PREFIX: &str = "replace_with_";

/// Whether a value is one that an example left to the user.
pub fn is_placeholder(text: &str) -> bool {
    text.to_ascii_lowercase().contains(PLACEHOLDER_PREFIX)
}

/// Tells of each in a value and in what is in it.
pub(crate) fn find(item: &Item, problems: &mut Diagnostics) {
    match &item.node.value {
        Value::String(text) if is_placeholder(text) => report(item, text, problems),
        Value::Sequence(items) => items.iter().for_each(|item| find(item, problems)),
        Value::Mapping(entries) => entries.iter().for_each(|entry| find(&entry.value, problems)),
        _ => {}
    }
}

/// Tells of those in definitions that are kept from before, of which only the places are known.
pub(crate) fn find_stored(implementation: &Implementation, problems: &mut Diagnostics) {
    let sections = [
        ("/resource", Some(&implementation.resource)),
        ("/contextualisation", implementation.contextualisation.as_ref()),
        ("/config_management", implementation.config_management.as_ref()),
    ];
    for (pointer, section) in sections {
        find_stored_in(section.unwrap_or(&Json::Null), pointer, implementation, problems);
    }
}

fn find_stored_in(value: &Json, pointer: &str, implementation: &Implementation, problems: &mut Diagnostics) {
    match value {
        Json::String(text) if is_placeholder(text) => {
            let place = implementation.lines.get(pointer).unwrap_or(&implementation.origin);
            let message =
                format!("the definition at {place} has the placeholder of an example, and was imported with it");
            problems.push(Diagnostic::error("value.placeholder", message).help("import it again without").obstacle());
        }
        Json::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| find_stored_in(item, &format!("{pointer}/{at}"), implementation, problems));
        }
        Json::Object(entries) => entries.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            find_stored_in(value, &format!("{pointer}/{key}"), implementation, problems);
        }),
        _ => {}
    }
}

fn report(item: &Item, text: &str, problems: &mut Diagnostics) {
    let small = text.to_ascii_lowercase();
    let mut told = Vec::new();
    for (at, _) in small.match_indices(PLACEHOLDER_PREFIX) {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = &rest[..end];
        if told.contains(&word) {
            continue;
        }
        told.push(word);
        let place = item.node.span.find(word).unwrap_or_else(|| item.at.clone());
        let help = match word.to_ascii_lowercase().contains("or_remove") || word.to_ascii_lowercase().contains("or_add")
        {
            true => "write the value of your own account or machine, or remove the line",
            false => "write the value of your own account or machine",
        };
        let problem = Diagnostic::error("value.placeholder", format!("`{word}` is the placeholder of an example"));
        problems.push(problem.at(&place, "to be replaced").help(help).obstacle());
    }
}
