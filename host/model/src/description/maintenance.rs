//! `maintenance`: the bounds of healing.

use crate::check::{self, wrong_kind};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::Maintenance;
use crate::yaml::{Item, Value};

const KEYS: [&str; 3] = ["hold_above_percent", "replace_at_once_percent", "hold_minutes"];
/// Of `hold_minutes`: a year.
const MAX_HOLD_MINUTES: f64 = 525_600.0;

/// Returns the bounds of a section; those that are left out, or of a blank section, are the defaults.
pub(super) fn check(item: &Item, problems: &mut Diagnostics) -> Maintenance {
    if check::is_null(item) {
        return Maintenance::default();
    }
    let Some(entries) = check::mapping(item, "`maintenance`", problems) else { return Maintenance::default() };
    check::keys(item, entries, "`maintenance`", &KEYS, &[], problems);
    let mut bound = |key: &str, most: f64| item.get(key).and_then(|value| number(key, most, value, problems));
    Maintenance {
        hold_above_percent: bound("hold_above_percent", 100.0),
        replace_at_once_percent: bound("replace_at_once_percent", 100.0),
        hold_minutes: bound("hold_minutes", MAX_HOLD_MINUTES),
    }
}

fn number(key: &str, most: f64, item: &Item, problems: &mut Diagnostics) -> Option<f64> {
    let Value::Number(number) = &item.node.value else {
        problems.push(wrong_kind(&format!("`{key}`"), &format!("a number from 0 to {most}"), item));
        return None;
    };
    let number = number.as_f64().filter(|number| (0.0..=most).contains(number));
    if number.is_none() {
        let problem = Diagnostic::error("value.range", format!("`{key}` must be a number from 0 to {most}"));
        problems.push(problem.at(&item.at, "out of this range"));
    }
    number
}
