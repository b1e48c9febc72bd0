//! Values as Python prints them, since templates were written for Jinja2: `True`, `None`, `['a', 'b']`, `{'k': 'v'}`.

use minijinja::Value;
use minijinja::value::ValueKind;

/// Python's `str()`.
pub(super) fn str(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => repr(value),
    }
}

/// Python's `repr()`.
fn repr(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => sequence(value),
        ValueKind::Map => mapping(value),
        _ => value.to_string(),
    }
}

fn sequence(value: &Value) -> String {
    let Ok(items) = value.try_iter() else { return value.to_string() };
    let items: Vec<_> = items.map(|item| repr(&item)).collect();
    match (value.is_tuple(), items.as_slice()) {
        (true, [one]) => format!("({one},)"),
        (true, _) => format!("({})", items.join(", ")),
        (false, _) => format!("[{}]", items.join(", ")),
    }
}

fn mapping(value: &Value) -> String {
    let Ok(keys) = value.try_iter() else { return value.to_string() };
    let entry = |key: Value| format!("{}: {}", repr(&key), repr(&value.get_item(&key).unwrap_or_default()));
    format!("{{{}}}", keys.map(entry).collect::<Vec<_>>().join(", "))
}

/// Single quotes, unless that alone avoids escapes.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
