//! `dependencies`: edges between nodes, and the attributes that are passed along them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::order::{self, Edge};
use crate::check::{self, wrong_kind};
use crate::diagnostic::{Diagnostic, Diagnostics, closest_match, suggestion};
use crate::infrastructure::{Mapping, Node};
use crate::yaml::{Item, Value, YamlNode};

/// Checks the list, and adds the edges and mappings to the nodes. `items` are the nodes as they are written.
pub(super) fn check(list: &Item, items: &[Item], nodes: &mut [Node], diagnostics: &mut Diagnostics) {
    if check::is_null(list) || list.mapping().is_some_and(<[_]>::is_empty) {
        return;
    }
    let Some(list) = check::sequence(list, "`dependencies`", diagnostics) else { return };
    let index = NodeIndex::new(items, nodes);
    let mut edges = Vec::new();
    let mut mappings = Vec::new();
    for item in list {
        let (connection, mapped) = match item.mapping() {
            Some(entries) => {
                check_misspelled_keys(item, diagnostics);
                let Some(connection) = item.get("connection") else {
                    if !entries.iter().any(|entry| closest_match(&entry.key, ["connection"]).is_some()) {
                        diagnostics.push(check::missing_key("connection", "a dependency", item));
                    }
                    continue;
                };
                (connection, item.get("mappings").filter(|item| !check::is_null(item)))
            }
            None => (item, None),
        };
        let mapped = mapped.map(|item| all_mappings(item, diagnostics)).unwrap_or_default();
        if let Some((dependent, dependee)) = index.resolve_pair(connection, diagnostics) {
            edges.push(Edge { dependent, dependee, at: connection.at.clone() });
            mappings.push((dependent, dependee, mapped));
        }
    }
    order::check(&edges, nodes, diagnostics);
    for (dependent, dependee, mapped) in mappings {
        if mapped.is_empty() || dependent == dependee {
            continue;
        }
        let (to, from) = (nodes[dependent].name.clone(), nodes[dependee].name.clone());
        nodes[dependent].mappings.inbound.entry(from).or_default().extend(mapped.iter().cloned());
        nodes[dependee].mappings.outbound.entry(to).or_default().extend(mapped);
    }
}

/// Reports misspellings of the known keys. Other keys are allowed and have no effect.
fn check_misspelled_keys(item: &Item, diagnostics: &mut Diagnostics) {
    let known = ["connection", "mappings"];
    for entry in item.mapping().unwrap_or_default() {
        if known.contains(&entry.key.as_str()) {
            continue;
        }
        if let Some(known) =
            closest_match(&entry.key, known).filter(|known| *known != entry.key && item.get(known).is_none())
        {
            let diagnostic = Diagnostic::error("key.unknown", format!("unknown key `{}` in a dependency", entry.key));
            diagnostics.push(diagnostic.at(&entry.key_at, "not known here").help(format!("did you mean `{known}`?")));
        }
    }
}

/// An index of the nodes, to resolve the ends of a dependency.
struct NodeIndex<'a> {
    items: &'a [Item],
    names: Vec<String>,
    by_name: HashMap<String, usize>,
    /// Positions by the address of the node in memory, which an alias shares.
    by_identity: HashMap<*const YamlNode, usize>,
}

impl<'a> NodeIndex<'a> {
    fn new(items: &'a [Item], nodes: &[Node]) -> Self {
        let names: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
        let by_name = names.iter().cloned().enumerate().rev().map(|(at, name)| (name, at)).collect();
        let by_identity = items.iter().enumerate().rev().map(|(at, item)| (Arc::as_ptr(&item.node), at)).collect();
        Self { items, names, by_name, by_identity }
    }

    /// Resolves `[dependent, dependee]` to the positions of the nodes.
    fn resolve_pair(&self, item: &Item, diagnostics: &mut Diagnostics) -> Option<(usize, usize)> {
        let help = "write `[A, B]` for: A needs B";
        let Some(ends) = item.sequence() else {
            diagnostics.push(wrong_kind("a dependency", "a pair of nodes", item).help(help));
            return None;
        };
        let [dependent, dependee] = ends else {
            let message = format!("a dependency is a pair of nodes, and this has {}", ends.len());
            diagnostics.push(Diagnostic::error("dependency.pair", message).at(&item.at, "not a pair").help(help));
            return None;
        };
        // Both are looked up, so that both are reported.
        let (dependent, dependee) = (self.find(dependent, diagnostics), self.find(dependee, diagnostics));
        Some((dependent?, dependee?))
    }

    /// Finds a node by its name, by identity (an alias), or as an equal copy.
    fn find(&self, item: &Item, diagnostics: &mut Diagnostics) -> Option<usize> {
        let diagnostic = match &item.node.value {
            Value::String(name) => match self.by_name.get(name) {
                Some(at) => return Some(*at),
                None if diagnostics.is_full() => return None,
                None => {
                    let names = self.names.iter().map(String::as_str).filter(|name| !name.is_empty());
                    Diagnostic::error("dependency.unknown", format!("there is no node `{name}`"))
                        .help(suggestion(name, names))
                }
            },
            Value::Mapping(_) => {
                // Only the node of that name is compared: comparing large copies with all nodes would take long.
                let equal = || {
                    let at = self.by_name.get(item.get("name")?.str()?).copied()?;
                    (self.items.get(at)?.json() == item.json()).then_some(at)
                };
                match self.by_identity.get(&Arc::as_ptr(&item.node)).copied().or_else(equal) {
                    Some(at) => return Some(at),
                    None => Diagnostic::error("dependency.unknown", "this is not one of the nodes")
                        .help("name a node, or use an alias of one"),
                }
            }
            _ => Diagnostic::error(
                "dependency.pair",
                format!("a dependency is between nodes, and this is {}", item.kind()),
            )
            .help("name a node, or use an alias of one"),
        };
        diagnostics.push(diagnostic.at(&item.at, "not a node"));
        None
    }
}

fn all_mappings(list: &Item, diagnostics: &mut Diagnostics) -> Vec<Mapping> {
    let items = check::sequence(list, "`mappings`", diagnostics).unwrap_or_default();
    items.iter().filter_map(|item| mapping(item, diagnostics)).collect()
}

/// Parses `[source, destination]`, or a mapping with that as `attributes`.
fn mapping(item: &Item, diagnostics: &mut Diagnostics) -> Option<Mapping> {
    let what = "a mapping of attributes";
    let (pair, synch, extra) = match item.mapping() {
        None => (item, false, Map::new()),
        Some(entries) => {
            let Some(pair) = item.get("attributes") else {
                diagnostics.push(check::missing_key("attributes", what, item));
                return None;
            };
            let synch = item.get("synch").is_some_and(|synch| match synch.node.value {
                Value::Bool(value) => value,
                _ => {
                    diagnostics.push(wrong_kind("`synch`", "true or false", synch));
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
    let diagnostic =
        Diagnostic::error("mapping.pair", format!("{what} is a pair of texts")).at(&pair.at, "not a pair of texts");
    diagnostics.push(diagnostic.help("write `[source, destination]`"));
    None
}
