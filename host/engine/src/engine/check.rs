//! Checks of requests, before anything is written or called.

use std::collections::HashSet;

use occopus_model::{
    Implementation, Infrastructure, InstanceLimits, Node, dependency_depths, dependency_positions, section_type,
};

use crate::error::EngineError;
use crate::plan::Targets;
use crate::ports::Plugins;

/// Checks that the graph can be deployed, and that there are plugins for all of it.
pub(super) fn infrastructure(desired: &Infrastructure, plugins: &dyn Plugins) -> Result<(), EngineError> {
    graph(&desired.nodes)?;
    for node in &desired.nodes {
        let mut candidates = desired.candidates(node).peekable();
        if candidates.peek().is_none() {
            return Err(invalid(format!(
                "node {}: no implementation of type {} matches the node's filter",
                node.name, node.node_type
            )));
        }
        for (_, implementation) in candidates {
            node_plugins(node, implementation, plugins)?;
        }
    }
    Ok(())
}

fn node_plugins(node: &Node, implementation: &Implementation, plugins: &dyn Plugins) -> Result<(), EngineError> {
    let missing = |kind, keyword: &str, pointer: &str| {
        let line = implementation.lines.get(pointer).unwrap_or(&implementation.origin);
        let location = Some(line.clone()).filter(|line| !line.is_empty());
        Err(EngineError::NoPlugin { node: node.name.clone(), kind, keyword: keyword.into(), location })
    };
    let keyword = section_type(&implementation.resource).unwrap_or_default();
    if plugins.driver(keyword).is_none() {
        return missing("driver", keyword, "/resource/type");
    }
    let contextualisation = implementation.contextualisation.as_ref();
    let keyword = contextualisation.and_then(section_type).unwrap_or("basic");
    if plugins.contextualiser(keyword).is_none() {
        return missing("contextualiser", keyword, "/contextualisation/type");
    }
    let managed = implementation.config_management.as_ref();
    if let Some(keyword) = managed.and_then(section_type)
        && plugins.config_manager(keyword).is_none()
    {
        return missing("config manager", keyword, "/config_management/type");
    }
    for keyword in implementation.health_check.checks.keys() {
        if plugins.health_checker(keyword).is_none() {
            return missing("health checker", keyword, &format!("/health_check/{keyword}"));
        }
    }
    Ok(())
}

/// Checks that no more instances would be planned than are allowed: of each node its described minimum, or the number
/// that it was scaled to if that is higher.
pub(super) fn instances(nodes: &[Node], targets: &Targets, limits: InstanceLimits) -> Result<(), EngineError> {
    let mut sum = 0_u64;
    for node in nodes {
        let wanted =
            targets.get(&node.name).map_or(0, |target| target.count.min(node.scaling.max)).max(node.scaling.min);
        if wanted > limits.per_node {
            let what = format!("node {}", node.name);
            return Err(EngineError::TooMany { what, wanted: wanted.into(), most: limits.per_node });
        }
        sum += u64::from(wanted);
    }
    if sum <= limits.per_infrastructure.into() {
        return Ok(());
    }
    Err(EngineError::TooMany { what: "the infrastructure".into(), wanted: sum, most: limits.per_infrastructure })
}

/// Checks names, limits and dependencies of the nodes. A compiled description has passed this already; those of other
/// callers of the library may not have.
pub(super) fn graph(nodes: &[Node]) -> Result<(), EngineError> {
    let mut names = HashSet::new();
    for node in nodes {
        if !names.insert(node.name.as_str()) {
            return Err(invalid(format!("two nodes have the name {}", node.name)));
        }
        if node.scaling.min < 1 || node.scaling.max < node.scaling.min {
            return Err(invalid(format!("node {}: its scaling limits must be 1 <= min <= max", node.name)));
        }
    }
    for node in nodes {
        let mut seen = HashSet::new();
        for name in &node.depends_on {
            if !names.contains(name.as_str()) {
                return Err(invalid(format!("node {} depends on {name}, which does not exist", node.name)));
            }
            if !seen.insert(name) {
                return Err(invalid(format!("node {} depends on {name} twice", node.name)));
            }
        }
    }
    let links: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), &node.depends_on[..])).collect();
    let depths = dependency_depths(&dependency_positions(&links));
    let cycle: Vec<_> =
        links.iter().zip(&depths).filter(|(_, depth)| depth.is_none()).map(|((name, _), _)| *name).collect();
    if cycle.is_empty() {
        return Ok(());
    }
    Err(invalid(format!("these nodes are part of a dependency cycle, or depend on one: {}", cycle.join(", "))))
}

fn invalid(message: String) -> EngineError {
    EngineError::Invalid { message }
}
