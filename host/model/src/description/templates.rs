//! Implicit dependencies: a template that uses the address of an earlier node depends on that node.
//!
//! The existing tool creates nodes of one level one after the other, so descriptions without dependencies work there.
//! Here they would start concurrently, and the template would find no address.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::infrastructure::{Implementation, Infrastructure};
use crate::text::has_template;

/// Functions of templates that look up a node by its name.
const NODE_LOOKUP_FUNCTIONS: [&str; 4] = ["getip", "getprivip", "getipall", "find_node_id"];

/// An argument by which a template names a node.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Argument {
    Name(String),
    /// A path in `variables`.
    Variable(String),
}

impl Argument {
    fn node<'a>(&'a self, variables: &'a Json) -> Option<&'a str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Variable(path) => path.split('.').try_fold(variables, |value, key| value.get(key))?.as_str(),
        }
    }
}

/// Adds the nodes that templates look up to `depends_on`, unless that makes a cycle.
pub(crate) fn order_by_templates(infrastructure: &mut Infrastructure) {
    let positions: HashMap<_, _> =
        infrastructure.nodes.iter().enumerate().map(|(at, node)| (node.name.clone(), at)).collect();
    let arguments: HashMap<_, _> =
        infrastructure.definitions.iter().map(|(name, list)| (name.clone(), node_arguments(list))).collect();
    let mut needs: Vec<Vec<usize>> = infrastructure
        .nodes
        .iter()
        .map(|node| node.depends_on.iter().filter_map(|name| positions.get(name).copied()).collect())
        .collect();
    for at in 0..infrastructure.nodes.len() {
        let names = arguments.get(&infrastructure.nodes[at].node_type).map(Vec::as_slice).unwrap_or_default();
        let variables = &infrastructure.nodes[at].variables;
        let referenced = names.iter().filter_map(|argument| positions.get(argument.node(variables)?).copied());
        // Later nodes may look up this one.
        let earlier: Vec<_> = referenced.filter(|other| *other < at).collect();
        for other in earlier {
            // Skipped if there is a path already.
            if !reaches(&needs, at, other) && !reaches(&needs, other, at) {
                needs[at].push(other);
            }
        }
        needs[at].sort_unstable();
        needs[at].dedup();
        let names = needs[at].iter().map(|other| infrastructure.nodes[*other].name.clone()).collect();
        infrastructure.nodes[at].depends_on = names;
    }
}

fn reaches(needs: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; needs.len()];
    let mut left = vec![from];
    while let Some(node) = left.pop() {
        if node == to {
            return true;
        }
        if !std::mem::replace(&mut seen[node], true) {
            left.extend(&needs[node]);
        }
    }
    false
}

fn node_arguments(implementations: &[Implementation]) -> Vec<Argument> {
    let mut names = Vec::new();
    for implementation in implementations {
        let sections = [
            Some(&implementation.resource),
            implementation.contextualisation.as_ref(),
            implementation.config_management.as_ref(),
        ];
        for section in sections.into_iter().flatten().chain(implementation.health_check.checks.values()) {
            collect_from_value(section, &mut names);
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn collect_from_value(value: &Json, names: &mut Vec<Argument>) {
    match value {
        Json::String(text) if has_template(text) => collect_calls(text, names),
        Json::Array(items) => items.iter().for_each(|item| collect_from_value(item, names)),
        Json::Object(entries) => entries.values().for_each(|item| collect_from_value(item, names)),
        _ => {}
    }
}

/// Collects the arguments of calls such as `getip('db')` and `getip(variables.target)`.
fn collect_calls(text: &str, names: &mut Vec<Argument>) {
    for function in NODE_LOOKUP_FUNCTIONS {
        for (at, _) in text.match_indices(function) {
            let is_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let Some(argument) = text[at + function.len()..].trim_start().strip_prefix('(') else { continue };
            if !is_word {
                names.extend(argument_of(argument.trim_start()));
            }
        }
    }
}

fn argument_of(text: &str) -> Option<Argument> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let (name, _) = text[1..].split_once(quote)?;
        return Some(Argument::Name(name.to_owned()));
    }
    let path = text.strip_prefix("variables.")?;
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(path.len());
    Some(Argument::Variable(path[..end].to_owned()))
}
