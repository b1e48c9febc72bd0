//! The order of nodes by their dependencies: the one topological sort, for descriptions, plans and drawings.

use std::collections::HashMap;

/// Returns the positions of each node's dependencies, given its name and their names. Names without a node are left out.
pub fn dependency_positions(nodes: &[(&str, &[String])]) -> Vec<Vec<usize>> {
    let index: HashMap<_, _> = nodes.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    let positions = |needs: &[String]| needs.iter().filter_map(|name| index.get(name.as_str()).copied()).collect();
    nodes.iter().map(|(_, needs)| positions(needs)).collect()
}

/// Returns for each node the length of the longest path to a node without dependencies: nodes in the order of their depths
/// come after all that they need. A node that is part of a cycle, or needs one that is, has no depth. `needs` has the
/// positions of each node's dependencies.
pub fn dependency_depths(needs: &[Vec<usize>]) -> Vec<Option<usize>> {
    let mut dependents = vec![Vec::new(); needs.len()];
    for (node, dependees) in needs.iter().enumerate() {
        for dependee in dependees {
            dependents[*dependee].push(node);
        }
    }
    let mut missing: Vec<_> = needs.iter().map(Vec::len).collect();
    let mut reached = vec![0; needs.len()];
    let mut depths = vec![None; needs.len()];
    let mut free: Vec<_> = (0..needs.len()).filter(|node| missing[*node] == 0).collect();
    while let Some(node) = free.pop() {
        depths[node] = Some(reached[node]);
        for dependent in &dependents[node] {
            reached[*dependent] = reached[*dependent].max(reached[node] + 1);
            missing[*dependent] -= 1;
            if missing[*dependent] == 0 {
                free.push(*dependent);
            }
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_after_what_they_need_and_cycles_have_no_depth() {
        let needs = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let written = [
            ("app", needs(&["db", "cache", "gone"])),
            ("db", needs(&[])),
            ("cache", needs(&["db"])),
            ("chicken", needs(&["egg"])),
            ("egg", needs(&["chicken"])),
            ("nest", needs(&["egg", "db"])),
            ("self", needs(&["self"])),
        ];
        let nodes: Vec<_> = written.iter().map(|(name, needs)| (*name, &needs[..])).collect();
        let positions = dependency_positions(&nodes);
        assert_eq!(positions[0], [1, 2], "an unknown name is no dependency");
        let depths = dependency_depths(&positions);
        assert_eq!(depths, [Some(2), Some(0), Some(1), None, None, None, None]);
        assert_eq!(dependency_depths(&[]), []);
        assert_eq!(dependency_depths(&[vec![1, 1], vec![]]), [Some(1), Some(0)], "a repeated dependency counts once");
    }
}
