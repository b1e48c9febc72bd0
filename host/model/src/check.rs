//! Checks that all kinds of files share: kinds of values, and keys.

use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::yaml::{Entry, Item, Span, Value};

/// Returns the diagnostic "WHAT must be WANTED, and it is ...", with a hint for likely mistakes.
pub(crate) fn wrong_kind(what: &str, expected: &str, item: &Item) -> Diagnostic {
    let label = format!("this is {}", item.kind());
    let diagnostic = Diagnostic::error("value.kind", format!("{what} must be {expected}, and it is {}", item.kind()))
        .at(&item.at, label)
        .cascading(item.is_broken());
    match item.str() {
        Some("yes" | "Yes" | "YES" | "on" | "On" | "ON") if expected.contains("true or false") => {
            diagnostic.help("in YAML 1.2 only `true` and `false` are truth values: write `true`")
        }
        Some("no" | "No" | "NO" | "off" | "Off" | "OFF") if expected.contains("true or false") => {
            diagnostic.help("in YAML 1.2 only `true` and `false` are truth values: write `false`")
        }
        None if expected.contains("a text") => match as_written(item) {
            Some(text) => diagnostic.help(format!("put it in quotes: `'{text}'`")),
            None if matches!(item.node.value, Value::Number(_) | Value::Bool(_)) => diagnostic.help("put it in quotes"),
            None => diagnostic,
        },
        _ => diagnostic,
    }
}

/// Returns a number or truth value as it is written in the file: `3.10`, where the value is 3.1. `None` for secret
/// files.
pub(crate) fn as_written(item: &Item) -> Option<&str> {
    let is_plain = matches!(item.node.value, Value::Number(_) | Value::Bool(_));
    let span = &item.node.span;
    let bytes = span.bytes();
    let text = span.source.text.get(bytes.offset()..bytes.offset() + bytes.len())?;
    Some(text).filter(|text| is_plain && !span.source.is_secret && !text.is_empty() && text.len() <= 60)
}

/// Returns the entries of what must be a mapping.
pub(crate) fn mapping<'a>(item: &'a Item, what: &str, diagnostics: &mut Diagnostics) -> Option<&'a [Entry]> {
    let entries = item.mapping();
    if entries.is_none() {
        diagnostics.push(wrong_kind(what, "a mapping", item));
    }
    entries
}

/// Returns the items of what must be a list.
pub(crate) fn sequence<'a>(item: &'a Item, what: &str, diagnostics: &mut Diagnostics) -> Option<&'a [Item]> {
    let items = item.sequence();
    if items.is_none() {
        diagnostics.push(wrong_kind(what, "a list", item));
    }
    items
}

/// Returns what must be a text.
pub(crate) fn text<'a>(item: &'a Item, what: &str, diagnostics: &mut Diagnostics) -> Option<&'a str> {
    let text = item.str();
    if text.is_none() {
        diagnostics.push(wrong_kind(what, "a text", item));
    }
    text
}

/// Returns true for a blank value: `key:`.
pub(crate) fn is_null(item: &Item) -> bool {
    matches!(item.node.value, Value::Null)
}

/// Returns the diagnostic of an unknown key.
pub(crate) fn unknown_key(key: &str, at: &Span, what: &str, known: &[&str]) -> Diagnostic {
    Diagnostic::error("key.unknown", format!("unknown key `{key}` in {what}"))
        .at(at, "not known here")
        .help(suggestion(key, known.iter().copied()))
}

/// Reports every key that is not known, and every required one that is absent.
pub(crate) fn keys(
    item: &Item,
    entries: &[Entry],
    what: &str,
    known: &[&str],
    required: &[&str],
    diagnostics: &mut Diagnostics,
) {
    let mut mistyped = Vec::new();
    for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        diagnostics.push(unknown_key(&entry.key, &entry.key_at, what, known));
        mistyped.extend(crate::diagnostic::closest_match(&entry.key, known.iter().copied()));
    }
    for key in required {
        // A misspelled key is reported already.
        if !mistyped.contains(key) && !entries.iter().any(|entry| entry.key == *key) {
            diagnostics.push(missing_key(key, what, item));
        }
    }
}

/// Returns the diagnostic of a required key that is absent.
pub(crate) fn missing_key(key: &str, what: &str, item: &Item) -> Diagnostic {
    Diagnostic::error("key.missing", format!("{what} has no `{key}`")).at(&item.at, format!("`{key}` is missing here"))
}
