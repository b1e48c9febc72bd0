//! `maintenance`: the bounds of healing.

use crate::check::{self, wrong_kind};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::Maintenance;
use crate::yaml::{Item, Value};

const KEYS: [&str; 3] = ["hold_above_percent", "replace_at_once_percent", "hold_minutes"];
/// Maximum of `hold_minutes`: a year.
const MAX_HOLD_MINUTES: f64 = 525_600.0;

/// Returns the bounds of a section; those that are left out, or of a blank section, are the defaults.
pub(super) fn check(item: &Item, diagnostics: &mut Diagnostics) -> Maintenance {
    if check::is_null(item) {
        return Maintenance::default();
    }
    let Some(entries) = check::mapping(item, "`maintenance`", diagnostics) else { return Maintenance::default() };
    check::keys(item, entries, "`maintenance`", &KEYS, &[], diagnostics);
    let mut bound = |key: &str, max: f64| item.get(key).and_then(|value| number(key, max, value, diagnostics));
    Maintenance {
        hold_above_percent: bound("hold_above_percent", 100.0),
        replace_at_once_percent: bound("replace_at_once_percent", 100.0),
        hold_minutes: bound("hold_minutes", MAX_HOLD_MINUTES),
    }
}

fn number(key: &str, max: f64, item: &Item, diagnostics: &mut Diagnostics) -> Option<f64> {
    let Value::Number(number) = &item.node.value else {
        diagnostics.push(wrong_kind(&format!("`{key}`"), &format!("a number from 0 to {max}"), item));
        return None;
    };
    let number = number.as_f64().filter(|number| (0.0..=max).contains(number));
    if number.is_none() {
        let diagnostic = Diagnostic::error("value.range", format!("`{key}` must be a number from 0 to {max}"));
        diagnostics.push(diagnostic.at(&item.at, "out of this range"));
    }
    number
}
