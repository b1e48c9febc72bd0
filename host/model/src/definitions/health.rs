//! `health_check`: a checker for each key, and time limits.

use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::check::{self, wrong_kind};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::HealthCheck;
use crate::schema::{self, Schemas, SectionKind};
use crate::yaml::{Item, Value};

/// Default seconds of continuous failure after which an instance has failed.
const DEFAULT_TIMEOUT_SECONDS: u64 = 600;
/// Maximum of `min_ready_seconds`: a day. More is taken for a mistake.
const MAX_MIN_READY_SECONDS: f64 = 86_400.0;
/// Checks of the existing tool, in its order; others follow.
const CHECK_ORDER: [&str; 4] = ["ping", "ports", "urls", "mysqldbs"];

/// Returns the checks of a section; the default ones without it.
pub(super) fn check(section: Option<&Item>, schemas: &dyn Schemas, diagnostics: &mut Diagnostics) -> HealthCheck {
    let mut known = schemas.keywords(SectionKind::HealthCheck);
    let mut health = HealthCheck { checks: IndexMap::new(), timeout: DEFAULT_TIMEOUT_SECONDS, min_ready_seconds: None };
    let can_ping = known.iter().any(|keyword| keyword == "ping");
    if can_ping {
        health.checks.insert("ping".to_owned(), Json::Bool(true));
    }
    let Some(section) = section else { return health };
    let Some(entries) = check::mapping(section, "`health_check`", diagnostics) else { return health };
    known.extend(["timeout", "min_ready_seconds", "type"].map(str::to_owned));
    for entry in entries {
        let (key, value) = (entry.key.as_str(), &entry.value);
        match key {
            "timeout" => health.timeout = parse_timeout(value, diagnostics).unwrap_or(DEFAULT_TIMEOUT_SECONDS),
            "min_ready_seconds" => health.min_ready_seconds = parse_seconds(value, diagnostics),
            "type" if value.str() == Some("basic") => {}
            "type" => {
                let diagnostic = Diagnostic::error("value.choice", "`type` of `health_check` can only be `basic`");
                diagnostics.push(diagnostic.at(&value.at, "not `basic`").help("it can be left out"));
            }
            "ping" if matches!(value.node.value, Value::Bool(false)) => {
                health.checks.shift_remove("ping");
            }
            _ if !known.iter().any(|keyword| keyword == key) => {
                let known: Vec<_> = known.iter().map(String::as_str).collect();
                diagnostics.push(check::unknown_key(key, &entry.key_at, "`health_check`", &known));
            }
            _ => {
                if let Some(schema) = schemas.schema(SectionKind::HealthCheck, key) {
                    schema::check(&schema, value, None, &format!("`{key}`"), diagnostics);
                    schema::warn_if_unavailable(SectionKind::HealthCheck, key, &entry.key_at, schemas, diagnostics);
                }
                health.checks.insert(key.to_owned(), value.json());
            }
        }
    }
    let rank = |key: &str| CHECK_ORDER.iter().position(|first| *first == key).unwrap_or(CHECK_ORDER.len());
    health.checks.sort_by(|one, _, other, _| rank(one).cmp(&rank(other)));
    health
}

fn parse_timeout(item: &Item, diagnostics: &mut Diagnostics) -> Option<u64> {
    let seconds = match &item.node.value {
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    if seconds.is_none() {
        diagnostics.push(wrong_kind("`timeout` of `health_check`", "a whole number of seconds", item));
    }
    seconds
}

/// Returns whole or decimal seconds.
fn parse_seconds(item: &Item, diagnostics: &mut Diagnostics) -> Option<f64> {
    let Value::Number(number) = &item.node.value else {
        diagnostics.push(wrong_kind("`min_ready_seconds`", "a number of seconds", item));
        return None;
    };
    let number = number.as_f64().filter(|number| (0.0..=MAX_MIN_READY_SECONDS).contains(number));
    if number.is_none() {
        let diagnostic = Diagnostic::error("value.range", "`min_ready_seconds` must be from 0 to 86400 seconds");
        diagnostics.push(diagnostic.at(&item.at, "out of this range"));
    }
    number
}
