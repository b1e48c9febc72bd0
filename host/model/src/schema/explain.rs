//! Errors of JSON Schema validation in plain words, at the user's line.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value as Json;

use crate::check::{missing_key, unknown_key, wrong_kind};
use crate::diagnostic::{Diagnostic, Diagnostics, closest_match, suggestion};
use crate::text::{contains_template, has_template};
use crate::yaml::Item;

/// Reports errors, except those caused by a template: its value is not known before it is rendered.
pub(super) fn explain(
    errors: &[ValidationError<'_>],
    schema: &Json,
    whole: &Item,
    what: &str,
    diagnostics: &mut Diagnostics,
) {
    for error in errors.iter().filter(|error| !is_caused_by_template(error) && !is_mistyped(error, errors)) {
        report(error, schema, whole, what, diagnostics);
    }
}

/// Returns true for a key that is missing because it is misspelled, which is reported by itself.
fn is_mistyped(error: &ValidationError<'_>, errors: &[ValidationError<'_>]) -> bool {
    let Kind::Required { property: Json::String(missing) } = error.kind() else { return false };
    errors.iter().filter(|other| other.instance_path() == error.instance_path()).any(|other| match other.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unexpected.iter().any(|key| closest_match(key, [missing.as_str()]).is_some())
        }
        _ => false,
    })
}

fn report(error: &ValidationError<'_>, schema: &Json, whole: &Item, what: &str, diagnostics: &mut Diagnostics) {
    let pointer = error.instance_path().as_str();
    let (item, _) = whole.resolve_pointer(pointer);
    if item.is_broken() {
        return;
    }
    let named = name(pointer, what);
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = properties(error, schema);
            let known: Vec<_> = known.iter().map(String::as_str).collect();

            for key in unexpected {
                let at = item.entry(key).map_or(&item.at, |entry| &entry.key_at);
                diagnostics.push(unknown_key(key, at, &named, &known));
            }
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();

            diagnostics.push(missing_key(key, &named, &item));
        }
        Kind::Type { kind } => diagnostics.push(wrong_kind(&named, &types(kind), &item)),
        Kind::Enum { options } => {
            let options: Vec<_> = options.as_array().into_iter().flatten().map(text_of).collect();
            let message = format!("{named} can't be {}", displayed(error.instance(), &item));
            let help = suggestion(&text_of(error.instance()), options.iter().map(String::as_str));
            diagnostics
                .push(Diagnostic::error("value.choice", message).at(&item.at, "not one of the choices").help(help));
        }
        Kind::Pattern { .. } if let Some(expected) = description(error, schema) => {
            let message = format!("{named} can't be {}", displayed(error.instance(), &item));
            diagnostics.push(Diagnostic::error("value.invalid", message).at(&item.at, "does not fit").help(expected));
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            report_alternatives(context, (pointer, &named, &item), schema, whole, what, diagnostics);
        }
        _ => {
            let message = format!("{named}: {}", error.masked_with("this value"));
            diagnostics.push(Diagnostic::error("value.invalid", message).at(&item.at, "does not fit"));
        }
    }
}

/// Reports a value that fits none of several forms. The one that fits deepest is probably meant.
fn report_alternatives(
    context: &[Vec<ValidationError<'static>>],
    (pointer, named, item): (&str, &str, &Item),
    schema: &Json,
    whole: &Item,
    what: &str,
    diagnostics: &mut Diagnostics,
) {
    let is_of_type = |errors: &&Vec<ValidationError<'_>>| {
        !errors
            .iter()
            .any(|error| error.instance_path().as_str() == pointer && matches!(error.kind(), Kind::Type { .. }))
    };
    match context.iter().filter(is_of_type).min_by_key(|errors| errors.len()) {
        Some(errors) => {
            explain(errors, schema, whole, what, diagnostics);
        }
        None => {
            let mut expected: Vec<_> = context
                .iter()
                .flatten()
                .filter_map(|error| match error.kind() {
                    Kind::Type { kind } => Some(types(kind)),
                    _ => None,
                })
                .collect();
            expected.retain(|expected| expected != "empty");
            expected.dedup();
            diagnostics.push(wrong_kind(named, &expected.join(" or "), item));
        }
    }
}

/// Returns true if a template may cause the error: it is a text now, and any value once rendered.
fn is_caused_by_template(error: &ValidationError<'_>) -> bool {
    let is_template = matches!(&**error.instance(), Json::String(text) if has_template(text));
    match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            is_template || context.iter().any(|errors| errors.iter().all(is_caused_by_template))
        }
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } | Kind::Required { .. } => false,
        Kind::UniqueItems | Kind::OneOfMultipleValid { .. } | Kind::Not { .. } | Kind::Contains => {
            contains_template(error.instance())
        }
        _ => is_template,
    }
}

/// Returns a name for the target of a pointer: the last key in it, or an item of that.
fn name(pointer: &str, what: &str) -> String {
    let (above, last) = match pointer.rsplit_once('/') {
        Some((above, last)) => (above, last.replace("~1", "/").replace("~0", "~")),
        None => return what.to_owned(),
    };
    match last.parse::<usize>() {
        Ok(at) => format!("item {} of {}", at.saturating_add(1), name(above, what)),
        Err(_) => format!("`{last}`"),
    }
}

/// Returns the part of the schema that the error is about.
fn part<'a>(error: &ValidationError<'_>, schema: &'a Json) -> Option<&'a Json> {
    let path = error.schema_path().as_str();
    schema.pointer(path.rsplit_once('/').map_or("", |(parent, _)| parent))
}

/// Returns the schema's description of the expected value.
fn description(error: &ValidationError<'_>, schema: &Json) -> Option<String> {
    part(error, schema)?.get("description")?.as_str().map(str::to_owned)
}

/// Returns the keys that the schema allows at the error's location.
fn properties(error: &ValidationError<'_>, schema: &Json) -> Vec<String> {
    let properties = part(error, schema).and_then(|schema| schema.get("properties")).and_then(Json::as_object);
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
}

fn types(kind: &TypeKind) -> String {
    let words = |name: &str| match name {
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "null" => "empty",
        "number" => "a number",
        "object" => "a mapping",
        _ => "a text",
    };
    match kind {
        TypeKind::Single(kind) => words(&kind.to_string()).to_owned(),
        TypeKind::Multiple(kinds) => {
            let kinds: Vec<_> =
                kinds.iter().map(|kind| words(&kind.to_string())).filter(|word| *word != "empty").collect();
            kinds.join(" or ")
        }
    }
}

fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn displayed(value: &Json, item: &Item) -> String {
    let text = text_of(value);
    if item.at.source.is_secret || text.len() > 60 { "what it is".to_owned() } else { format!("`{text}`") }
}
