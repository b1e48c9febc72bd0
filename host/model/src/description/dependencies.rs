//! `dependencies`: which node needs which, and the attributes that go along.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::order::{self, Edge};
use crate::check::{self, wrong_kind};
use crate::diagnostic::{Diagnostic, Diagnostics, closest_match, suggestion};
use crate::infrastructure::{Mapping, Node};
use crate::yaml::{Item, Value, YamlNode};

/// Checks the list, and writes what it says to the nodes. `items` are the nodes as they are written.
pub(super) fn check(list: &Item, items: &[Item], nodes: &mut [Node], problems: &mut Diagnostics) {
    if check::is_null(list) || list.mapping().is_some_and(<[_]>::is_empty) {
        return;
    }
    let Some(list) = check::sequence(list, "`dependencies`", problems) else { return };
    let graph = NodeIndex::new(items, nodes);
    let mut edges = Vec::new();
    let mut mappings = Vec::new();
    for item in list {
        let (connection, mapped) = match item.mapping() {
            Some(entries) => {
                check_misspelled_keys(item, problems);
                let Some(connection) = item.get("connection") else {
                    if !entries.iter().any(|entry| closest_match(&entry.key, ["connection"]).is_some()) {
                        problems.push(check::missing_key("connection", "a dependency", item));
                    }
                    continue;
                };
                (connection, item.get("mappings").filter(|item| !check::is_null(item)))
            }
            None => (item, None),
        };
        let mapped = mapped.map(|item| all_mappings(item, problems)).unwrap_or_default();
        if let Some((dependent, dependee)) = graph.resolve_pair(connection, problems) {
            edges.push(Edge { dependent, dependee, at: connection.at.clone() });
            mappings.push((dependent, dependee, mapped));
        }
    }
    order::check(&edges, nodes, problems);
    for (dependent, dependee, mapped) in mappings {
        if mapped.is_empty() || dependent == dependee {
            continue;
        }
        let (to, from) = (nodes[dependent].name.clone(), nodes[dependee].name.clone());
        nodes[dependent].mappings.inbound.entry(from).or_default().extend(mapped.iter().cloned());
        nodes[dependee].mappings.outbound.entry(to).or_default().extend(mapped);
    }
}

/// Other keys are allowed and do nothing, so a slip in a known one would go unseen.
fn check_misspelled_keys(item: &Item, problems: &mut Diagnostics) {
    let known = ["connection", "mappings"];
    for entry in item.mapping().unwrap_or_default() {
        if known.contains(&entry.key.as_str()) {
            continue;
        }
        if let Some(known) =
            closest_match(&entry.key, known).filter(|known| *known != entry.key && item.get(known).is_none())
        {
            let problem = Diagnostic::error("key.unknown", format!("unknown key `{}` in a dependency", entry.key));
            problems.push(problem.at(&entry.key_at, "not known here").help(format!("did you mean `{known}`?")));
        }
    }
}

/// The nodes, to find what a dependency names.
struct NodeIndex<'a> {
    items: &'a [Item],
    names: Vec<String>,
    by_name: HashMap<String, usize>,
    /// By the place of the node in memory, which an alias shares.
    by_identity: HashMap<*const YamlNode, usize>,
}

impl<'a> NodeIndex<'a> {
    fn new(items: &'a [Item], nodes: &[Node]) -> Self {
        let names: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
        let by_name = names.iter().cloned().enumerate().rev().map(|(at, name)| (name, at)).collect();
        let by_identity = items.iter().enumerate().rev().map(|(at, item)| (Arc::as_ptr(&item.node), at)).collect();
        Self { items, names, by_name, by_identity }
    }

    /// `[dependent, dependee]`.
    fn resolve_pair(&self, item: &Item, problems: &mut Diagnostics) -> Option<(usize, usize)> {
        let help = "write `[A, B]` for: A needs B";
        let Some(ends) = item.sequence() else {
            problems.push(wrong_kind("a dependency", "a pair of nodes", item).help(help));
            return None;
        };
        let [dependent, dependee] = ends else {
            let message = format!("a dependency is a pair of nodes, and this has {}", ends.len());
            problems.push(Diagnostic::error("dependency.pair", message).at(&item.at, "not a pair").help(help));
            return None;
        };
        // Both are looked up, so that both are told of.
        let (dependent, dependee) = (self.find(dependent, problems), self.find(dependee, problems));
        Some((dependent?, dependee?))
    }

    /// By name, by identity (an alias), or as an equal copy.
    fn find(&self, item: &Item, problems: &mut Diagnostics) -> Option<usize> {
        let problem = match &item.node.value {
            Value::String(name) => match self.by_name.get(name) {
                Some(at) => return Some(*at),
                None if problems.is_full() => return None,
                None => {
                    let names = self.names.iter().map(String::as_str).filter(|name| !name.is_empty());
                    Diagnostic::error("dependency.unknown", format!("there is no node `{name}`"))
                        .help(suggestion(name, names))
                }
            },
            Value::Mapping(_) => {
                // The one of that name: comparing with all of them would take long for large copies of many.
                let equal = || {
                    let at = self.by_name.get(item.get("name")?.str()?).copied()?;
                    (self.items.get(at)?.json() == item.json()).then_some(at)
                };
                match self.by_identity.get(&Arc::as_ptr(&item.node)).copied().or_else(equal) {
                    Some(at) => return Some(at),
                    None => Diagnostic::error("dependency.unknown", "this is none of the nodes")
                        .help("name a node, or use an alias of one"),
                }
            }
            _ => Diagnostic::error(
                "dependency.pair",
                format!("a dependency is between nodes, and this is {}", item.kind()),
            )
            .help("name a node, or use an alias of one"),
        };
        problems.push(problem.at(&item.at, "not a node"));
        None
    }
}

fn all_mappings(list: &Item, problems: &mut Diagnostics) -> Vec<Mapping> {
    let items = check::sequence(list, "`mappings`", problems).unwrap_or_default();
    items.iter().filter_map(|item| mapping(item, problems)).collect()
}

/// `[source, destination]`, or a mapping with that as `attributes`.
fn mapping(item: &Item, problems: &mut Diagnostics) -> Option<Mapping> {
    let what = "a mapping of attributes";
    let (pair, synch, extra) = match item.mapping() {
        None => (item, false, Map::new()),
        Some(entries) => {
            let Some(pair) = item.get("attributes") else {
                problems.push(check::missing_key("attributes", what, item));
                return None;
            };
            let synch = item.get("synch").is_some_and(|synch| match synch.node.value {
                Value::Bool(value) => value,
                _ => {
                    problems.push(wrong_kind("`synch`", "true or false", synch));
                    false
                }
            });
            let extra = entries.iter().filter(|entry| entry.key != "attributes" && entry.key != "synch");
            (pair, synch, extra.map(|entry| (entry.key.clone(), entry.value.json())).collect::<Map<String, Json>>())
        }
    };
    let ends = pair.sequence().unwrap_or_default();
    if let [source, destination] = ends
        && let (Some(source), Some(destination)) = (source.str(), destination.str())
    {
        return Some(Mapping { attributes: (source.to_owned(), destination.to_owned()), synch, extra });
    }
    let problem =
        Diagnostic::error("mapping.pair", format!("{what} is a pair of texts")).at(&pair.at, "not a pair of texts");
    problems.push(problem.help("write `[source, destination]`"));
    None
}
