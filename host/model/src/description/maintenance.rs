//! `maintenance`: the bounds of healing.

use crate::check::{self, wrong_kind};
use crate::infrastructure::Maintenance;
use crate::problem::{Problem, Problems};
use crate::yaml::{Item, Value};

const KEYS: [&str; 2] = ["hold_above_percent", "replace_at_once_percent"];

/// Blank means the defaults.
pub(super) fn check(item: &Item, problems: &mut Problems) -> Maintenance {
    if check::is_null(item) {
        return Maintenance::default();
    }
    let Some(entries) = check::mapping(item, "`maintenance`", problems) else { return Maintenance::default() };
    check::keys(item, entries, "`maintenance`", &KEYS, &[], problems);
    let mut percent = |key: &str| item.get(key).and_then(|value| percent(key, value, problems));
    Maintenance {
        hold_above_percent: percent("hold_above_percent"),
        replace_at_once_percent: percent("replace_at_once_percent"),
    }
}

fn percent(key: &str, item: &Item, problems: &mut Problems) -> Option<f64> {
    let Value::Number(number) = &item.node.value else {
        problems.push(wrong_kind(&format!("`{key}`"), "a number from 0 to 100", item));
        return None;
    };
    let number = number.as_f64().filter(|number| (0.0..=100.0).contains(number));
    if number.is_none() {
        let problem = Problem::error("value.range", format!("`{key}` must be a number from 0 to 100"));
        problems.push(problem.at(&item.at, "out of this range"));
    }
    number
}
