//! The graph of dependencies: cycles, and references in templates.

use std::collections::HashMap;

use serde_json::Value;

use crate::definition::Definitions;
use crate::description::Described;

/// A cycle, as a path that ends where it begins; none when there is none. Without recursion.
pub(crate) fn cycle(count: usize, edges: &[(usize, usize)]) -> Option<Vec<usize>> {
    let mut next = vec![Vec::new(); count];
    for (from, to) in edges {
        next[*from].push(*to);
    }
    // 0: not seen, 1: on the path, 2: done.
    let mut state = vec![0_u8; count];
    for start in 0..count {
        let mut path = vec![(start, 0)];
        if state[start] != 0 {
            continue;
        }
        state[start] = 1;
        while let Some((at, taken)) = path.last_mut() {
            let Some(to) = next[*at].get(*taken).copied() else {
                state[*at] = 2;
                path.pop();
                continue;
            };
            *taken += 1;
            match state[to] {
                0 => {
                    state[to] = 1;
                    path.push((to, 0));
                }
                1 => {
                    let from = path.iter().position(|(node, _)| *node == to).unwrap_or(0);
                    return Some(path[from..].iter().map(|(node, _)| *node).chain([to]).collect());
                }
                _ => {}
            }
        }
    }
    None
}

/// Template functions that ask for other nodes.
const FUNCTIONS: &[&str] = &["getip", "getprivip", "getipall", "find_node_id"];

/// A node whose templates name an earlier node waits for it, also when the user wrote no dependency. The existing tool starts
/// nodes one after the other, and published descriptions rely on it.
pub(crate) fn add_references(nodes: &mut [Described], definitions: &Definitions) {
    let order: HashMap<String, usize> =
        nodes.iter().enumerate().map(|(at, described)| (described.node.name.clone(), at)).collect();
    let mut references: HashMap<&str, Vec<Reference>> = HashMap::new();
    for (name, (implementations, _)) in &definitions.0 {
        let found = implementations.iter().flat_map(|implementation| {
            let sections = [
                Some(&implementation.resource),
                implementation.contextualisation.as_ref(),
                implementation.config_management.as_ref(),
            ];
            let mut found = Vec::new();
            for section in sections.into_iter().flatten() {
                texts(section, &mut |text| found.extend(self::references(text)));
            }
            found
        });
        references.insert(name, found.collect());
    }
    let mut edges: Vec<(usize, usize)> = Vec::new();
    for (at, described) in nodes.iter().enumerate() {
        edges.extend(described.node.depends_on.iter().filter_map(|name| Some((at, *order.get(name)?))));
    }
    for at in 0..nodes.len() {
        let node = &nodes[at].node;
        let named = references.get(node.node_type.as_str()).into_iter().flatten();
        let wanted: Vec<usize> = named
            .filter_map(|reference| match reference {
                Reference::Name(name) => order.get(name).copied(),
                Reference::Variable(path) => {
                    let value = path.split('.').try_fold(&node.variables, |value, key| value.get(key))?;
                    order.get(value.as_str()?).copied()
                }
            })
            // Later nodes may well refer back to this one.
            .filter(|other| *other < at)
            .collect();
        for other in wanted {
            let name = nodes[other].node.name.clone();
            if nodes[at].node.depends_on.contains(&name) {
                continue;
            }
            edges.push((at, other));
            if cycle(nodes.len(), &edges).is_some() {
                edges.pop();
                continue;
            }
            nodes[at].node.depends_on.push(name);
            nodes[at].node.depends_on.sort_by_key(|name| order.get(name).copied());
        }
    }
}

enum Reference {
    Name(String),
    /// A path in `variables`.
    Variable(String),
}

fn texts(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, visit)),
        Value::Object(entries) => entries.values().for_each(|value| texts(value, visit)),
        _ => {}
    }
}

/// The first arguments of the functions in a text, where they are literal names or plain variables.
fn references(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    for function in FUNCTIONS {
        for (at, _) in text.match_indices(function) {
            let rest = text[at + function.len()..].trim_start();
            let Some(argument) = rest.strip_prefix('(').map(str::trim_start) else { continue };
            if let Some(quote) = argument.chars().next().filter(|c| *c == '\'' || *c == '"') {
                if let Some(name) = argument[1..].split(quote).next() {
                    found.push(Reference::Name(name.to_owned()));
                }
            } else if let Some(path) = argument.strip_prefix("variables.") {
                let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(path.len());
                found.push(Reference::Variable(path[..end].to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::cycle;

    #[test]
    fn cycles_are_paths_that_return() {
        assert_eq!(cycle(3, &[(0, 1), (1, 2)]), None);
        assert_eq!(cycle(1, &[(0, 0)]), Some(vec![0, 0]));
        assert_eq!(cycle(4, &[(3, 0), (0, 1), (1, 2), (2, 0)]), Some(vec![0, 1, 2, 0]));
        let long: Vec<_> = (0..200_000).map(|at| (at, at + 1)).collect();
        assert_eq!(cycle(200_001, &long), None);
    }
}
