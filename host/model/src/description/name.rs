//! Names of infrastructures and nodes: they become parts of host names.

use crate::check;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::{Item, Value};

const MAX_NAME_LENGTH: usize = 63;

/// Returns a valid name.
pub(super) fn check(item: &Item, what: &str, diagnostics: &mut Diagnostics) -> Option<String> {
    if let Value::Number(_) | Value::Bool(_) = item.node.value {
        let diagnostic = check::wrong_kind(what, "a text", item);
        diagnostics.push(diagnostic.help("put it in quotes"));
        return None;
    }
    let name = check::text(item, what, diagnostics)?;
    let wrong = |c: &char| !(c.is_ascii_alphanumeric() || *c == '-');
    let reason = if name.is_empty() {
        "it is empty".to_owned()
    } else if let Some(character) = name.chars().find(wrong) {
        format!("it has {character:?} in it")
    } else if name.len() > MAX_NAME_LENGTH {
        format!("it has {} characters", name.len())
    } else {
        return Some(name.to_owned());
    };
    let diagnostic =
        Diagnostic::error("name.invalid", format!("{what} can't be a host name: {reason}")).at(&item.at, "not allowed");
    diagnostics.push(diagnostic.help(format!("letters, digits and hyphens are allowed, {MAX_NAME_LENGTH} at most")));
    None
}
