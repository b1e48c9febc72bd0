//! The filter `tojson`.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State, Value};

use super::filters::{arguments, charge_fuel, usize_or};
use super::python;

/// Writes JSON that may stand in HTML: keys sorted, nothing but ASCII, and no `<`, `>`, `&` and `'`.
pub(super) fn tojson(state: &mut State, value: Value, given: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [indent] = arguments(given, ["indent"])?;
    let indent = indent.filter(|indent| !indent.is_none()).map(|indent| usize_or(Some(&indent), 0)).transpose()?;
    let value = serde_json::to_value(&value)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("it can't be JSON: {error}")))?;
    let mut out = String::new();
    json(state, &value, indent, 0, &mut out)?;
    Ok(Value::from_safe_string(out))
}

fn json(
    state: &State,
    value: &serde_json::Value,
    indent: Option<usize>,
    level: usize,
    out: &mut String,
) -> Result<(), Error> {
    let items: Vec<(Option<&String>, &serde_json::Value)> = match value {
        serde_json::Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(key, value)| (Some(key), value)).collect();
            fields.sort_by_key(|(key, _)| *key);
            fields
        }
        serde_json::Value::String(text) => {
            quoted(text, out);
            return Ok(());
        }
        serde_json::Value::Number(number) if number.is_f64() => {
            out.push_str(&python::float(number.as_f64().unwrap_or_default()));
            return Ok(());
        }
        other => {
            out.push_str(&other.to_string());
            return Ok(());
        }
    };
    let (open, close) = if value.is_array() { ('[', ']') } else { ('{', '}') };
    out.push(open);
    for (at, (key, item)) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        line(state, indent, level + 1, out)?;
        if let Some(key) = key {
            quoted(key, out);
            out.push_str(": ");
        }
        json(state, item, indent, level + 1, out)?;
    }
    if !items.is_empty() {
        line(state, indent, level, out)?;
    }
    out.push(close);
    Ok(())
}

fn line(state: &State, indent: Option<usize>, level: usize, out: &mut String) -> Result<(), Error> {
    let Some(width) = indent.map(|indent| indent.saturating_mul(level)) else { return Ok(()) };
    charge_fuel(state, width)?;
    out.push('\n');
    out.push_str(&" ".repeat(width));
    Ok(())
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_graphic() && !"<>&'".contains(c) || c == ' ' => out.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}
