//! Rehearsal of a deployment, which finds failures before anything is changed: every template is rendered once, with
//! stand-ins for what does not exist yet.

use std::collections::HashSet;

use occopus_engine::{Engine, EngineError, FailureReason, InfrastructureId, NodeFailure, Preview};
use occopus_model::Infrastructure;

/// Renders one of the nodes that have type, variables and filter in common. Returns the previews, and the failures of nodes.
///
/// # Errors
/// Returns the errors of [`Engine::rehearse`].
pub(crate) async fn rehearse(
    engine: &Engine,
    id: Option<&InfrastructureId>,
    infrastructure: &Infrastructure,
) -> Result<(Vec<Preview>, Vec<NodeFailure>), EngineError> {
    let mut seen = HashSet::new();
    let nodes = infrastructure.nodes.iter().enumerate();
    let kinds = nodes.filter(|(_, node)| {
        seen.insert((
            &node.node_type,
            node.variables.to_string(),
            serde_json::Value::from(node.filter.clone()).to_string(),
        ))
    });
    let kinds: Vec<_> = kinds.map(|(index, _)| index).collect();
    let (mut previews, mut failures) = (Vec::new(), Vec::new());
    for outcome in engine.rehearse(id, infrastructure, &kinds).await? {
        match outcome {
            Ok(Preview { refused: Some(failure), .. }) => failures.push(failure),
            Ok(preview) => previews.push(preview),
            // A missing plugin is reported elsewhere, with the line that names it.
            Err(failure) if is_missing_plugin(&failure) => {}
            Err(failure) => failures.push(failure),
        }
    }
    Ok((previews, failures))
}

fn is_missing_plugin(failure: &NodeFailure) -> bool {
    matches!(&failure.reason, FailureReason::Call { fault, .. } if fault.code == "engine.no-plugin")
}
