//! Checks that many places need: keys, and values against a plugin's schema.

use jsonschema::Validator;
use serde_json::Value;

use crate::problem::{Problem, Problems, suggestion};
use crate::yaml::{Entry, Item};

/// The item is a mapping with no other keys than these. Gives its entries, none after a problem.
pub(crate) fn mapping<'a>(item: &'a Item, what: &str, known: &[&str], problems: &mut Problems) -> Option<&'a [Entry]> {
    let Some(entries) = item.mapping() else {
        let problem =
            Problem::error("description.type", format!("{what} must be a mapping, and this is {}", item.kind()));
        problems.push(problem.at(&item.at, "here"));
        return None;
    };
    for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        problems.push(
            Problem::error("description.unknown-key", format!("{what} has no key `{}`", entry.key))
                .at(&entry.key_at, "unknown")
                .help(suggestion(&entry.key, known.iter().copied())),
        );
    }
    Some(entries)
}

/// A key that has to be there.
pub(crate) fn required<'a>(item: &'a Item, what: &str, key: &str, problems: &mut Problems) -> Option<&'a Item> {
    let found = item.get(key);
    if found.is_none() {
        problems.push(
            Problem::error("description.missing-key", format!("{what} needs the key `{key}`"))
                .at(&item.at, format!("no `{key}` here")),
        );
    }
    found
}

/// A text that has to be one.
pub(crate) fn text<'a>(item: &'a Item, what: &str, problems: &mut Problems) -> Option<&'a str> {
    let found = item.str();
    if found.is_none() {
        problems.push(
            Problem::error("description.type", format!("{what} must be a text, and this is {}", item.kind()))
                .at(&item.at, "here")
                .help("write it in quotes"),
        );
    }
    found
}

/// Checks a section against its plugin's schema. `skip` are keys that belong to the host.
pub(crate) fn against(item: &Item, what: &str, schema: &Value, skip: &[&str], problems: &mut Problems) {
    let validator = match jsonschema::options().should_validate_formats(false).build(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let problem =
                Problem::error("plugin.schema", format!("the plugin's schema of {what} can't be used: {error}"));
            problems.push(problem.at(&item.at, "to be checked"));
            return;
        }
    };
    report(item, what, &validator, schema, skip, problems);
}

fn report(item: &Item, what: &str, validator: &Validator, schema: &Value, skip: &[&str], problems: &mut Problems) {
    use jsonschema::error::ValidationErrorKind as Kind;
    let mut value = item.json();
    if let Value::Object(keys) = &mut value {
        keys.retain(|key, _| !skip.contains(&key.as_str()));
    }
    for error in validator.iter_errors(&value) {
        let pointer = error.instance_path().as_str().to_owned();
        let (at, key) = item.pointed(&pointer);
        let inside = pointer.trim_start_matches('/').replace('/', ".");
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for name in unexpected {
                    let Some(entry) = at.entry(name) else { continue };
                    let known = if pointer.is_empty() { keys(schema) } else { Vec::new() };
                    problems.push(
                        Problem::error("definition.unknown-key", format!("{what} has no key `{name}`"))
                            .at(&entry.key_at, "unknown")
                            .help(suggestion(name, known.iter().copied())),
                    );
                }
            }
            Kind::Required { property } => {
                let name = property.as_str().map_or_else(|| property.to_string(), str::to_owned);
                problems.push(
                    Problem::error("definition.missing-key", format!("{what} needs the key `{name}`"))
                        .at(&key.unwrap_or(at.at), format!("no `{name}` here")),
                );
            }
            // What is not rendered yet may become anything.
            _ if at.str().is_some_and(is_template) => {}
            Kind::Type { .. } => {
                let subject = if inside.is_empty() { what.to_owned() } else { format!("`{inside}` of {what}") };
                problems.push(
                    Problem::error(
                        "definition.type",
                        format!("{subject} must be {}, and this is {}", wanted(&error), at.kind()),
                    )
                    .at(&at.at, "here")
                    .help(boolean_help(&at)),
                );
            }
            _ => {
                let subject = if inside.is_empty() { what.to_owned() } else { format!("`{inside}` of {what}") };
                problems.push(Problem::error("definition.value", format!("{subject}: {error}")).at(&at.at, "here"));
            }
        }
    }
}

pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Whoever writes `no` means false, in YAML 1.1.
fn boolean_help(item: &Item) -> &'static str {
    match item.str() {
        Some("yes" | "no" | "on" | "off" | "Yes" | "No" | "On" | "Off" | "YES" | "NO" | "ON" | "OFF") => {
            "in YAML 1.2 this is a text; write `true` or `false`"
        }
        _ => "",
    }
}

/// "a list", from the words of the validator.
fn wanted(error: &jsonschema::ValidationError<'_>) -> String {
    let text = error.to_string();
    let types = ["integer", "boolean", "string", "array", "object", "number", "null"];
    let names = ["a whole number", "true or false", "a text", "a list", "a mapping", "a number", "empty"];
    let said = text.rsplit(" is not of type").next().unwrap_or_default();
    let found: Vec<_> =
        types.iter().zip(names).filter(|(kind, _)| said.contains(**kind)).map(|(_, name)| name).collect();
    if found.is_empty() { said.trim().to_owned() } else { found.join(" or ") }
}

/// The keys of a section, by its schema.
fn keys(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}
