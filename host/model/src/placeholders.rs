//! What examples leave to the user: `replace_with_...`. It can be rendered and looked at, and not be built.

use serde_json::Value as Json;

use crate::infrastructure::Implementation;
use crate::problem::{Problem, Problems};
use crate::yaml::{Item, Value};

const MARK: &str = "replace_with_";

/// Whether a value is one that an example left to the user.
pub fn is_placeholder(text: &str) -> bool {
    text.to_ascii_lowercase().contains(MARK)
}

/// Tells of each in a value and in what is in it.
pub(crate) fn find(item: &Item, problems: &mut Problems) {
    match &item.node.value {
        Value::String(text) if is_placeholder(text) => tell(item, text, problems),
        Value::Sequence(items) => items.iter().for_each(|item| find(item, problems)),
        Value::Mapping(entries) => entries.iter().for_each(|entry| find(&entry.value, problems)),
        _ => {}
    }
}

/// Tells of those in definitions that are kept from before, of which only the places are known.
pub(crate) fn find_stored(implementation: &Implementation, problems: &mut Problems) {
    let sections = [
        ("/resource", Some(&implementation.resource)),
        ("/contextualisation", implementation.contextualisation.as_ref()),
        ("/config_management", implementation.config_management.as_ref()),
    ];
    for (pointer, section) in sections {
        stored(section.unwrap_or(&Json::Null), pointer, implementation, problems);
    }
}

fn stored(value: &Json, pointer: &str, implementation: &Implementation, problems: &mut Problems) {
    match value {
        Json::String(text) if is_placeholder(text) => {
            let place = implementation.lines.get(pointer).unwrap_or(&implementation.origin);
            let message =
                format!("the definition at {place} has the placeholder of an example, and was imported with it");
            problems.push(Problem::error("value.placeholder", message).help("import it again without").obstacle());
        }
        Json::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| stored(item, &format!("{pointer}/{at}"), implementation, problems));
        }
        Json::Object(entries) => entries.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            stored(value, &format!("{pointer}/{key}"), implementation, problems);
        }),
        _ => {}
    }
}

fn tell(item: &Item, text: &str, problems: &mut Problems) {
    let small = text.to_ascii_lowercase();
    let mut told = Vec::new();
    for (at, _) in small.match_indices(MARK) {
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
        let problem = Problem::error("value.placeholder", format!("`{word}` is the placeholder of an example"));
        problems.push(problem.at(&place, "to be replaced").help(help).obstacle());
    }
}
