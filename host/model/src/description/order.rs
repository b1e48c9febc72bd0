//! Cycles of the dependencies.

use crate::dependency_order::dependency_depths;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::Node;
use crate::yaml::Span;

/// A dependency by the positions of its nodes.
pub(super) struct Edge {
    pub(super) dependent: usize,
    pub(super) dependee: usize,
    pub(super) at: Span,
}

/// Sets `depends_on`, and reports cycles.
pub(super) fn check(edges: &[Edge], nodes: &mut [Node], diagnostics: &mut Diagnostics) {
    let mut needs = vec![Vec::new(); nodes.len()];
    for edge in edges {
        needs[edge.dependent].push(edge.dependee);
    }
    for (node, dependees) in needs.iter_mut().enumerate() {
        dependees.sort_unstable();
        dependees.dedup();
        let names = dependees.iter().map(|dependee| nodes[*dependee].name.clone()).collect();
        nodes[node].depends_on = names;
    }
    for cycle in cycles(needs) {
        diagnostics.push(describe_cycle(&cycle, edges, nodes));
    }
}

/// Returns cycles that have no node in common, so that each is worth a message. Each begins with its first node.
fn cycles(mut needs: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    loop {
        let depths = dependency_depths(&needs);
        // Each node without a depth needs another one, so following them ends in a cycle.
        let Some(start) = depths.iter().position(Option::is_none) else { return found };
        let mut seen = vec![None; needs.len()];
        let (mut path, mut at) = (Vec::new(), start);
        while seen[at].is_none() {
            seen[at] = Some(path.len());
            path.push(at);
            let Some(next) = needs[at].iter().find(|dependee| depths[**dependee].is_none()) else { return found };
            at = *next;
        }
        let mut cycle = path.split_off(seen[at].unwrap_or_default());
        // Reported: the others are looked for in what remains.
        for node in &cycle {
            needs[*node].clear();
        }
        let first = cycle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(place, _)| place);
        cycle.rotate_left(first);
        found.push(cycle);
    }
}

fn describe_cycle(cycle: &[usize], edges: &[Edge], nodes: &[Node]) -> Diagnostic {
    let path: Vec<_> = cycle.iter().chain(cycle.first()).copied().collect();
    let name = |node: usize| format!("`{}`", nodes[node].name);
    let message = match cycle {
        [node] => format!("cycle: node {} needs itself", name(*node)),
        _ => format!("cycle: {}", path.iter().map(|node| name(*node)).collect::<Vec<_>>().join(" needs ")),
    };
    let steps = path.windows(2).filter_map(|step| {
        let edge = edges.iter().find(|edge| step == [edge.dependent, edge.dependee])?;
        Some((&edge.at, format!("{} needs {}", name(edge.dependent), name(edge.dependee))))
    });
    let mut diagnostic =
        Diagnostic::error("dependency.cycle", message).help("none of them could start first: remove one dependency");
    for (at, (place, label)) in steps.enumerate() {
        diagnostic = if at == 0 { diagnostic.at(place, label) } else { diagnostic.related(place, label) };
    }
    diagnostic
}
