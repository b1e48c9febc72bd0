//! The infrastructure description: checked, and compiled to an [`Infrastructure`].

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::check;
use crate::definition::{Definitions, unknown_type};
use crate::graph;
use crate::infrastructure::{Infrastructure, Mapping, Mappings, Node, Scaling};
use crate::problem::{Problem, Problems, suggestion};
use crate::yaml::{Item, Span};

/// A node with its places, while it is compiled.
pub(crate) struct Described {
    pub(crate) node: Node,
    pub(crate) item: Item,
    pub(crate) name_at: Span,
}

pub(crate) fn compile(
    root: &Item,
    definitions: Definitions,
    looked: &str,
    problems: &mut Problems,
) -> Option<Infrastructure> {
    let known = ["infra_name", "user_id", "nodes", "dependencies", "variables"];
    check::mapping(root, "a description", &known, problems)?;
    let name = check::required(root, "a description", "infra_name", problems)
        .and_then(|item| self::name(item, "`infra_name`", problems));
    if root.get("user_id").is_none() {
        problems.push(
            Problem::warning("description.no-user", "there is no `user_id`")
                .at(&root.at, "none here")
                .help("templates that use `user_id` print nothing for it"),
        );
    }
    let variables = root.get("variables").and_then(|item| variables(item, "`variables`", problems)).unwrap_or_default();
    let mut nodes = Vec::new();
    if let Some(list) = check::required(root, "a description", "nodes", problems) {
        match list.sequence() {
            Some(items) => nodes.extend(items.iter().filter_map(|item| node(item, &variables, problems))),
            None => problems.push(
                Problem::error("description.type", format!("`nodes` must be a list, and this is {}", list.kind()))
                    .at(&list.at, "here"),
            ),
        }
    }
    unique(&nodes, problems);
    for described in &nodes {
        let kind = described.item.get("type").filter(|kind| kind.str() == Some(&described.node.node_type));
        if let Some(kind) = kind.filter(|_| !definitions.0.contains_key(&described.node.node_type)) {
            problems.push(unknown_type(&described.node.node_type, &kind.at, &definitions, looked));
        }
    }
    if let Some(list) = root.get("dependencies") {
        dependencies(list, &mut nodes, problems);
    }
    graph::add_references(&mut nodes, &definitions);
    for described in &mut nodes {
        described.node.depends_on.dedup();
    }
    let filtered: Vec<_> = nodes.iter().filter(|described| !described.node.filter.is_empty()).collect();
    for described in filtered {
        no_match(described, &definitions, problems);
    }
    let definitions = definitions.0.into_iter().map(|(name, (list, _))| (name, list));
    let used: Vec<_> = nodes.iter().map(|described| described.node.node_type.clone()).collect();
    Some(Infrastructure {
        name: name?.to_owned(),
        user_id: root.get("user_id").map(Item::json).unwrap_or_default(),
        variables: Value::Object(variables),
        definitions: definitions.filter(|(name, _)| used.contains(name)).collect(),
        nodes: nodes.into_iter().map(|described| described.node).collect(),
    })
}

/// The rule of the existing tool: letters, digits and hyphens, at most 63.
fn name<'a>(item: &'a Item, what: &str, problems: &mut Problems) -> Option<&'a str> {
    let name = check::text(item, what, problems)?;
    let fits = (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits {
        return Some(name);
    }
    problems.push(
        Problem::error("description.name", format!("{what} is not usable as a name"))
            .at(&item.at, "here")
            .help("a name has 1 to 63 letters (a to z), digits and hyphens"),
    );
    None
}

fn variables(item: &Item, what: &str, problems: &mut Problems) -> Option<Map<String, Value>> {
    if let Value::Object(variables) = item.json() {
        return Some(variables);
    }
    problems.push(
        Problem::error("description.type", format!("{what} must be a mapping, and this is {}", item.kind()))
            .at(&item.at, "here"),
    );
    None
}

fn node(item: &Item, inherited: &Map<String, Value>, problems: &mut Problems) -> Option<Described> {
    check::mapping(item, "a node", &["name", "type", "scaling", "filter", "variables"], problems)?;
    let name_item = check::required(item, "a node", "name", problems);
    let kind_item = check::required(item, "a node", "type", problems);
    let name = name_item.and_then(|item| self::name(item, "`name` of a node", problems));
    let kind = kind_item.and_then(|item| check::text(item, "`type` of a node", problems));
    let scaling = item.get("scaling").map_or(Scaling { min: 1, max: 1 }, |item| scaling(item, problems));
    let filter = item.get("filter").and_then(|item| variables(item, "`filter`", problems)).unwrap_or_default();
    let own = item.get("variables").and_then(|item| variables(item, "`variables`", problems)).unwrap_or_default();
    let mut merged = inherited.clone();
    merge(&mut merged, own);
    Some(Described {
        node: Node {
            name: name?.to_owned(),
            node_type: kind?.to_owned(),
            scaling,
            scaling_section: item.get("scaling").map(Item::json).unwrap_or_default(),
            filter,
            variables: Value::Object(merged),
            depends_on: Vec::new(),
            mappings: Mappings::default(),
        },
        name_at: name_item?.at.clone(),
        item: item.clone(),
    })
}

/// Mappings into mappings, everything else replaced.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn scaling(item: &Item, problems: &mut Problems) -> Scaling {
    check::mapping(item, "`scaling`", &["min", "max"], problems);
    let mut limit = |key: &str| {
        let value = item.get(key)?;
        let number = value.json().as_u64().and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            let message =
                format!("`{key}` of `scaling` must be a whole number of instances, and this is {}", value.kind());
            problems.push(Problem::error("description.type", message).at(&value.at, "here"));
        }
        number
    };
    // As the existing tool computes it.
    let min = limit("min").unwrap_or(1).max(1);
    let max = limit("max").unwrap_or(min).max(min);
    Scaling { min, max }
}

fn unique(nodes: &[Described], problems: &mut Problems) {
    let mut first: HashMap<&str, &Span> = HashMap::new();
    for described in nodes {
        let name = described.node.name.as_str();
        if let Some(before) = first.get(name) {
            problems.push(
                Problem::error("description.duplicate-name", format!("two nodes are called `{name}`"))
                    .at(&described.name_at, format!("again; first on line {}", before.line))
                    .also(before, "first here"),
            );
        } else {
            first.insert(name, &described.name_at);
        }
    }
}

/// An edge between two nodes, by their numbers.
struct Edge {
    dependent: usize,
    dependee: usize,
    at: Span,
}

fn dependencies(list: &Item, nodes: &mut [Described], problems: &mut Problems) {
    let items = match (list.sequence(), list.mapping()) {
        (Some(items), _) => items,
        // `{}` is accepted as none.
        (None, Some([])) => return,
        _ => {
            let message = format!("`dependencies` must be a list, and this is {}", list.kind());
            problems.push(Problem::error("description.type", message).at(&list.at, "here"));
            return;
        }
    };
    let ends = Ends::of(nodes);
    let mut edges = Vec::new();
    for item in items {
        let pair = match item.mapping() {
            Some(_) => match check::required(item, "a dependency", "connection", problems) {
                Some(connection) => connection,
                None => continue,
            },
            None => item,
        };
        let Some([dependent, dependee]) = pair.sequence() else {
            problems.push(
                Problem::error("description.dependency", "a dependency is a pair of nodes")
                    .at(&pair.at, "here")
                    .help("write `[*needs, *needed]`, or the names of the nodes"),
            );
            continue;
        };
        let (dependent, dependee) = (ends.find(dependent, nodes, problems), ends.find(dependee, nodes, problems));
        let (Some(dependent), Some(dependee)) = (dependent, dependee) else { continue };
        if let Some(mappings) = item.get("mappings") {
            map(mappings, dependent, dependee, nodes, problems);
        }
        edges.push(Edge { dependent, dependee, at: pair.at.clone() });
    }
    let all: Vec<_> = edges.iter().map(|edge| (edge.dependent, edge.dependee)).collect();
    if let Some(cycle) = graph::cycle(nodes.len(), &all) {
        let names: Vec<_> = cycle.iter().map(|at| nodes[*at].node.name.as_str()).collect();
        let problem =
            Problem::error("description.cycle", format!("the dependencies go in a cycle: {}", names.join(" needs ")));
        let mut on_it =
            edges.iter().filter(|edge| cycle.windows(2).any(|pair| pair == [edge.dependent, edge.dependee]));
        let problem = match on_it.next() {
            Some(edge) => on_it.fold(problem.at(&edge.at, "part of the cycle"), |problem, edge| {
                problem.also(&edge.at, "part of the cycle")
            }),
            None => problem,
        };
        problems.push(problem.help("take one of these dependencies out"));
        return;
    }
    let order: HashMap<String, usize> =
        nodes.iter().enumerate().map(|(at, described)| (described.node.name.clone(), at)).collect();
    for edge in edges {
        let dependee = nodes[edge.dependee].node.name.clone();
        let depends_on = &mut nodes[edge.dependent].node.depends_on;
        if !depends_on.contains(&dependee) {
            depends_on.push(dependee);
        }
    }
    for described in nodes {
        described.node.depends_on.sort_by_key(|name| order.get(name).copied());
    }
}

/// Finds nodes by what stands at the end of a dependency.
struct Ends {
    by_name: HashMap<String, usize>,
    by_identity: HashMap<usize, usize>,
}

impl Ends {
    fn of(nodes: &[Described]) -> Self {
        let numbered = || nodes.iter().enumerate();
        Self {
            by_name: numbered().map(|(at, described)| (described.node.name.clone(), at)).collect(),
            by_identity: numbered().map(|(at, described)| (Arc::as_ptr(&described.item.node) as usize, at)).collect(),
        }
    }

    fn find(&self, end: &Item, nodes: &[Described], problems: &mut Problems) -> Option<usize> {
        if let Some(name) = end.str() {
            let found = self.by_name.get(name).copied();
            if found.is_none() {
                let known: Vec<&str> = nodes.iter().map(|described| described.node.name.as_str()).collect();
                problems.push(
                    Problem::error("description.unknown-node", format!("there is no node `{name}`"))
                        .at(&end.at, "unknown")
                        .help(suggestion(name, known)),
                );
            }
            return found;
        }
        let by_identity = self.by_identity.get(&(Arc::as_ptr(&end.node) as usize)).copied();
        let equal = || {
            let value = end.json();
            nodes.iter().position(|described| described.item.json() == value)
        };
        let found = by_identity.or_else(|| end.mapping().and_then(|_| equal()));
        if found.is_none() {
            // A node that is itself broken has its own problem.
            let is_broken_node = end.get("name").is_some() && end.get("type").is_none();
            if !is_broken_node {
                problems.push(
                    Problem::error(
                        "description.unknown-node",
                        format!("this is {}, and no node of `nodes`", end.kind()),
                    )
                    .at(&end.at, "here")
                    .help("write an alias of a node (`*NAME`), or the node's name"),
                );
            }
        }
        found
    }
}

/// `mappings` of a dependency.
fn map(list: &Item, dependent: usize, dependee: usize, nodes: &mut [Described], problems: &mut Problems) {
    let Some(items) = list.sequence() else {
        let message = format!("`mappings` must be a list, and this is {}", list.kind());
        problems.push(Problem::error("description.type", message).at(&list.at, "here"));
        return;
    };
    let mappings: Vec<_> = items.iter().filter_map(|item| mapping(item, problems)).collect();
    let (source, target) = (nodes[dependee].node.name.clone(), nodes[dependent].node.name.clone());
    nodes[dependent].node.mappings.inbound.insert(source, mappings.clone());
    nodes[dependee].node.mappings.outbound.insert(target, mappings);
}

fn mapping(item: &Item, problems: &mut Problems) -> Option<Mapping> {
    let pair = match item.mapping() {
        Some(_) => check::required(item, "a mapping of attributes", "attributes", problems)?,
        None => item,
    };
    let texts = pair.sequence().map(|items| items.iter().filter_map(Item::str).collect::<Vec<_>>());
    let Some([source, target]) = texts.as_deref() else {
        problems.push(
            Problem::error("description.mapping", "a mapping is a pair of attribute names")
                .at(&pair.at, "here")
                .help("write `[SOURCE, DESTINATION]`"),
        );
        return None;
    };
    let mut extra = match item.json() {
        Value::Object(keys) => keys,
        _ => Map::new(),
    };
    extra.remove("attributes");
    let synch = extra.remove("synch").and_then(|value| value.as_bool()).unwrap_or(false);
    Some(Mapping { attributes: ((*source).to_owned(), (*target).to_owned()), synch, extra })
}

/// A filter that no implementation passes would be found out in the middle of a deployment.
fn no_match(described: &Described, definitions: &Definitions, problems: &mut Problems) {
    let Some((implementations, _)) = definitions.0.get(&described.node.node_type) else { return };
    let passes = implementations.iter().any(|implementation| {
        described.node.filter.iter().all(|(key, value)| implementation.resource.get(key) == Some(value))
    });
    if let Some(entry) = described.item.entry("filter").filter(|_| !passes && !implementations.is_empty()) {
        problems.push(
            Problem::error(
                "description.filter",
                format!("no implementation of `{}` passes this filter", described.node.node_type),
            )
            .at(&entry.key_at, "here")
            .help("each pair must be in the implementation's `resource` section, with the same value"),
        );
    }
}
