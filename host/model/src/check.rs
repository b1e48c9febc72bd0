//! Checks that all files share: kinds of values, and keys.

use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::yaml::{Entry, Item, Span, Value};

/// "must be a list, and this is a text".
pub(crate) fn wrong_kind(what: &str, wanted: &str, item: &Item) -> Diagnostic {
    let label = format!("this is {}", item.kind());
    let problem = Diagnostic::error("value.kind", format!("{what} must be {wanted}, and it is {}", item.kind()))
        .at(&item.at, label)
        .cascading(item.is_broken());
    match item.str() {
        Some("yes" | "Yes" | "YES" | "on" | "On" | "ON") if wanted.contains("true or false") => {
            problem.help("in YAML 1.2 only `true` and `false` are truth values: write `true`")
        }
        Some("no" | "No" | "NO" | "off" | "Off" | "OFF") if wanted.contains("true or false") => {
            problem.help("in YAML 1.2 only `true` and `false` are truth values: write `false`")
        }
        None if wanted.contains("a text") => match as_written(item) {
            Some(text) => problem.help(format!("put it in quotes: `'{text}'`")),
            None if matches!(item.node.value, Value::Number(_) | Value::Bool(_)) => problem.help("put it in quotes"),
            None => problem,
        },
        _ => problem,
    }
}

/// A number or truth value as it stands in the file: `3.10`, where the value is 3.1. None in files that are never shown.
pub(crate) fn as_written(item: &Item) -> Option<&str> {
    let is_plain = matches!(item.node.value, Value::Number(_) | Value::Bool(_));
    let span = &item.node.span;
    let bytes = span.bytes();
    let text = span.source.text.get(bytes.offset()..bytes.offset() + bytes.len())?;
    Some(text).filter(|text| is_plain && !span.source.is_secret && !text.is_empty() && text.len() <= 60)
}

/// The entries of what must be a mapping.
pub(crate) fn mapping<'a>(item: &'a Item, what: &str, problems: &mut Diagnostics) -> Option<&'a [Entry]> {
    let entries = item.mapping();
    if entries.is_none() {
        problems.push(wrong_kind(what, "a mapping", item));
    }
    entries
}

/// The items of what must be a list.
pub(crate) fn sequence<'a>(item: &'a Item, what: &str, problems: &mut Diagnostics) -> Option<&'a [Item]> {
    let items = item.sequence();
    if items.is_none() {
        problems.push(wrong_kind(what, "a list", item));
    }
    items
}

/// What must be a text.
pub(crate) fn text<'a>(item: &'a Item, what: &str, problems: &mut Diagnostics) -> Option<&'a str> {
    let text = item.str();
    if text.is_none() {
        problems.push(wrong_kind(what, "a text", item));
    }
    text
}

/// Nothing is written there: `key:`.
pub(crate) fn is_null(item: &Item) -> bool {
    matches!(item.node.value, Value::Null)
}

/// An unknown key.
pub(crate) fn unknown_key(key: &str, at: &Span, what: &str, known: &[&str]) -> Diagnostic {
    Diagnostic::error("key.unknown", format!("unknown key `{key}` in {what}"))
        .at(at, "not known here")
        .help(suggestion(key, known.iter().copied()))
}

/// Tells of every key that is not known, and of every required one that is absent.
pub(crate) fn keys(
    item: &Item,
    entries: &[Entry],
    what: &str,
    known: &[&str],
    required: &[&str],
    problems: &mut Diagnostics,
) {
    let mut mistyped = Vec::new();
    for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        problems.push(unknown_key(&entry.key, &entry.key_at, what, known));
        mistyped.extend(crate::diagnostic::closest_match(&entry.key, known.iter().copied()));
    }
    for key in required {
        // A key with a slip in it is told of already.
        if !mistyped.contains(key) && !entries.iter().any(|entry| entry.key == *key) {
            problems.push(missing_key(key, what, item));
        }
    }
}

/// A key that must be there.
pub(crate) fn missing_key(key: &str, what: &str, item: &Item) -> Diagnostic {
    Diagnostic::error("key.missing", format!("{what} has no `{key}`")).at(&item.at, format!("`{key}` is missing here"))
}
