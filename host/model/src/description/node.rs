//! Nodes of a description.

use serde_json::{Map, Value as Json};

use super::{NodeLocations, name, variables};
use crate::check::{self, wrong_kind};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::{Mappings, Node, Scaling};
use crate::yaml::{Item, Value};

const KEYS: [&str; 5] = ["name", "type", "scaling", "filter", "variables"];

/// Checks a node. Returns `None` only if it is not a mapping; parts that are wrong or missing are empty in the result,
/// so that the rest is still checked.
pub(super) fn check(
    item: &Item,
    inherited: &Map<String, Json>,
    diagnostics: &mut Diagnostics,
) -> Option<(Node, NodeLocations)> {
    let entries = check::mapping(item, "a node", diagnostics)?;
    let before = diagnostics.len();
    let node_name = item.get("name").and_then(|item| name::check(item, "the `name` of a node", diagnostics));
    let what = node_name.as_ref().map_or_else(|| "a node".to_owned(), |name| format!("node `{name}`"));
    check::keys(item, entries, &what, &KEYS, &["name", "type"], diagnostics);
    let node_type = item.get("type").and_then(|item| check::text(item, &format!("`type` of {what}"), diagnostics));
    let scaling = item.get("scaling").filter(|item| !check::is_null(item));
    let filter = item.get("filter");
    let filter_pairs = filter.map(|item| parse_pairs(item, &format!("`filter` of {what}"), diagnostics));
    let mut merged = inherited.clone();
    merge(&mut merged, variables(item, &format!("`variables` of {what}"), diagnostics));
    let node = Node {
        name: node_name.unwrap_or_default(),
        node_type: node_type.unwrap_or_default().to_owned(),
        scaling: scaling.map_or(Scaling { min: 1, max: 1 }, |item| parse_scaling(item, &what, diagnostics)),
        scaling_section: scaling.map(Item::json).unwrap_or_default(),
        filter: filter_pairs.unwrap_or_default(),
        variables: Json::Object(merged),
        depends_on: Vec::new(),
        mappings: Mappings::default(),
    };
    let places = NodeLocations {
        node_type: item.get("type").map_or_else(|| item.at.clone(), |item| item.at.clone()),
        filter: filter.filter(|_| diagnostics.len() == before).map(|item| item.at.clone()),
    };
    Some((node, places))
}

fn parse_pairs(item: &Item, what: &str, diagnostics: &mut Diagnostics) -> Map<String, Json> {
    check::mapping(item, what, diagnostics);
    match item.json() {
        Json::Object(pairs) => pairs,
        _ => Map::new(),
    }
}

/// Parses `scaling`. `{min: 5, max: 2}` is 5 to 5, as in the existing tool.
fn parse_scaling(item: &Item, what: &str, diagnostics: &mut Diagnostics) -> Scaling {
    let section = format!("`scaling` of {what}");
    let Some(entries) = check::mapping(item, &section, diagnostics) else { return Scaling { min: 1, max: 1 } };
    check::keys(item, entries, &section, &["min", "max"], &[], diagnostics);
    let mut limit = |key: &str| {
        let item = item.get(key).filter(|item| !check::is_null(item))?;
        let number = match &item.node.value {
            Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        if number.is_none() {
            diagnostics.push(wrong_kind(&format!("`{key}` in {section}"), "a whole number from 0", item));
        }
        number
    };
    let (wanted_min, wanted_max) = (limit("min"), limit("max"));
    let min = wanted_min.unwrap_or(1).max(1);
    let max = wanted_max.unwrap_or(min).max(min);
    if let (Some(wanted), Some(at)) = (wanted_max.filter(|wanted| *wanted < min), item.get("max")) {
        let message = format!("{section}: `max` is {wanted}, less than `min`; it counts as {min}");
        diagnostics.push(Diagnostic::warning("scaling.order", message).at(&at.at, "less than `min`"));
    }
    Scaling { min, max }
}

/// Merges values over others: mappings are merged, anything else is replaced.
fn merge(below: &mut Map<String, Json>, above: Map<String, Json>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Json::Object(below)), Json::Object(above)) => merge(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}
