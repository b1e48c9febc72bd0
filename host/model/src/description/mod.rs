//! The infrastructure description: checked, and compiled except for the definitions of its types.

mod dependencies;
mod maintenance;
mod name;
mod node;
mod order;
mod quota;
mod templates;
mod webhooks;

use std::collections::HashMap;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use crate::check;
use crate::definitions::DEFINITION_KEY_PREFIX;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::{Infrastructure, InstanceLimits};
use crate::placeholders;
use crate::schema::Schemas;
use crate::yaml::{Entry, Item, Span};

use quota::Quota;

pub(crate) use templates::order_by_templates;

const KEYS: [&str; 7] = ["infra_name", "nodes", "user_id", "dependencies", "variables", "maintenance", "webhooks"];

/// A description without its definitions.
pub(crate) struct Description {
    pub(crate) infrastructure: Infrastructure,
    /// Locations of each node, in the same order.
    pub(crate) locations: Vec<NodeLocations>,
}

/// Locations of those parts of a node that can only be checked later.
pub(crate) struct NodeLocations {
    pub(crate) node_type: Span,
    pub(crate) filter: Option<Span>,
}

/// Limits of what a description may ask for.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) instances: InstanceLimits,
    /// Maximum bytes of the variables of all nodes together, those that they share counted for each.
    pub(crate) copied_bytes: usize,
    /// Maximum candidate implementations, counted for each node.
    pub(crate) candidates: usize,
}

/// Checks a description. Returns `None` if too little of it is there to go on.
pub(crate) fn check(
    root: &Item,
    events: &[&str],
    limits: Limits,
    schemas: &dyn Schemas,
    diagnostics: &mut Diagnostics,
) -> Option<Description> {
    let what = "the infrastructure description";
    let entries = check::mapping(root, what, diagnostics)?;
    // A description may carry its node definitions.
    let is_definition =
        |entry: &&Entry| entry.key.strip_prefix(DEFINITION_KEY_PREFIX).is_some_and(|name| !name.is_empty());
    let own: Vec<_> = entries.iter().filter(|entry| !is_definition(entry)).cloned().collect();
    check::keys(root, &own, what, &KEYS, &["infra_name", "nodes"], diagnostics);
    own.iter().for_each(|entry| placeholders::find(&entry.value, diagnostics));
    let infra_name = root.get("infra_name").and_then(|item| name::check(item, "`infra_name`", diagnostics));
    if root.get("user_id").is_none() {
        let diagnostic = Diagnostic::warning("user_id.missing", "the description has no `user_id`")
            .at(&root.at, "`user_id` is missing here");
        diagnostics.push(diagnostic.help("templates that use it will find nothing"));
    }
    let variables = variables(root, "`variables`", diagnostics);
    let list = check::sequence(root.get("nodes")?, "`nodes`", diagnostics)?;
    let mut quota = Quota::new(limits);
    let mut checked = Vec::new();
    for item in list {
        let Some((node, places)) = node::check(item, &variables, diagnostics) else { continue };
        if !quota.take_variables(&node, root, diagnostics) {
            break;
        }
        quota.take_instances(&node, item, diagnostics);
        checked.push((item, (node, places)));
    }
    check_duplicate_names(&checked, diagnostics);

    let items: Vec<_> = checked.iter().map(|(item, _)| (*item).clone()).collect();
    let (mut nodes, places): (Vec<_>, Vec<_>) = checked.into_iter().map(|(_, node)| node).unzip();
    if let Some(list) = root.get("dependencies") {
        dependencies::check(list, &items, &mut nodes, diagnostics);
    }
    let infrastructure = Infrastructure {
        name: infra_name.unwrap_or_default(),
        user_id: root.get("user_id").map(Item::json).unwrap_or_default(),
        variables: Json::Object(variables),
        nodes,
        definitions: IndexMap::new(),
        maintenance: root.get("maintenance").map(|item| maintenance::check(item, diagnostics)).unwrap_or_default(),
        webhooks: root
            .get("webhooks")
            .map(|list| webhooks::check(list, events, schemas, diagnostics))
            .unwrap_or_default(),
    };
    Some(Description { infrastructure, locations: places })
}

/// Returns `variables` of the infrastructure or of a node; empty for a blank section.
fn variables(item: &Item, what: &str, diagnostics: &mut Diagnostics) -> Map<String, Json> {
    let Some(item) = item.get("variables").filter(|item| !check::is_null(item)) else { return Map::new() };
    check::mapping(item, what, diagnostics);
    match item.json() {
        Json::Object(variables) => variables,
        _ => Map::new(),
    }
}

fn check_duplicate_names(
    nodes: &[(&Item, (crate::infrastructure::Node, NodeLocations))],
    diagnostics: &mut Diagnostics,
) {
    let mut first: HashMap<&str, &Item> = HashMap::new();
    for (item, (node, _)) in nodes {
        let Some(name) = item.get("name").filter(|_| !node.name.is_empty()) else { continue };
        if let Some(first) = first.get(node.name.as_str()) {
            let diagnostic = Diagnostic::error("name.twice", format!("two nodes have the name `{}`", node.name))
                .at(&name.at, "again")
                .related(&first.at, format!("first in line {}", first.at.line))
                .help("give one of them another name");
            diagnostics.push(diagnostic);
        } else {
            first.insert(&node.name, name);
        }
    }
}
