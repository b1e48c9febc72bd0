//! Placeholders that examples leave to the user: `replace_with_...`. A description with them can be rendered, but not
//! be built.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::Implementation;
use crate::yaml::{Item, Value};

const PLACEHOLDER_PREFIX: &str = "replace_with_";

/// Returns true for a text with a placeholder of an example.
pub fn is_placeholder(text: &str) -> bool {
    text.to_ascii_lowercase().contains(PLACEHOLDER_PREFIX)
}

/// Reports each placeholder in a value.
pub(crate) fn find(item: &Item, diagnostics: &mut Diagnostics) {
    match &item.node.value {
        Value::String(text) if is_placeholder(text) => report(item, text, diagnostics),
        Value::Sequence(items) => items.iter().for_each(|item| find(item, diagnostics)),
        Value::Mapping(entries) => entries.iter().for_each(|entry| find(&entry.value, diagnostics)),
        _ => {}
    }
}

/// Reports the placeholders of an implementation that was imported before, of which only the locations are known.
pub(crate) fn find_stored(implementation: &Implementation, diagnostics: &mut Diagnostics) {
    let sections = [
        ("/resource", Some(&implementation.resource)),
        ("/contextualisation", implementation.contextualisation.as_ref()),
        ("/config_management", implementation.config_management.as_ref()),
    ];
    for (pointer, section) in sections {
        find_stored_in(section.unwrap_or(&Json::Null), pointer, implementation, diagnostics);
    }
}

fn find_stored_in(value: &Json, pointer: &str, implementation: &Implementation, diagnostics: &mut Diagnostics) {
    match value {
        Json::String(text) if is_placeholder(text) => {
            let location = implementation.lines.get(pointer).unwrap_or(&implementation.origin);
            let message =
                format!("the definition at {location} has the placeholder of an example, and was imported with it");
            diagnostics
                .push(Diagnostic::error("value.placeholder", message).help("import it again without").obstacle());
        }
        Json::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| find_stored_in(item, &format!("{pointer}/{at}"), implementation, diagnostics));
        }
        Json::Object(entries) => entries.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            find_stored_in(value, &format!("{pointer}/{key}"), implementation, diagnostics);
        }),
        _ => {}
    }
}

fn report(item: &Item, text: &str, diagnostics: &mut Diagnostics) {
    let lowercase = text.to_ascii_lowercase();
    let mut reported = Vec::new();
    for (at, _) in lowercase.match_indices(PLACEHOLDER_PREFIX) {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = &rest[..end];
        if reported.contains(&word) {
            continue;
        }
        reported.push(word);
        let location = item.node.span.find(word).unwrap_or_else(|| item.at.clone());
        let help = match word.to_ascii_lowercase().contains("or_remove") || word.to_ascii_lowercase().contains("or_add")
        {
            true => "write the value of your own account or machine, or remove the line",
            false => "write the value of your own account or machine",
        };
        let diagnostic = Diagnostic::error("value.placeholder", format!("`{word}` is the placeholder of an example"));
        diagnostics.push(diagnostic.at(&location, "to be replaced").help(help).obstacle());
    }
}
