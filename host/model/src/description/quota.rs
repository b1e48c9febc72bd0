//! Limits on the total size of a description: few words can stand for any number of instances, and for copies of large
//! variables.

use serde_json::Value as Json;

use super::Limits;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::Node;
use crate::yaml::Item;

/// Estimated bytes that a value takes up beside its text.
const VALUE_OVERHEAD_BYTES: usize = 64;

/// Usage so far, and its limits.
pub(super) struct Quota {
    limits: Limits,
    /// Bytes of variables so far.
    copied_bytes: usize,
    instances: u64,
    /// Set once too many instances are reported.
    is_reported: bool,
}

impl Quota {
    /// Returns a quota of which nothing is used.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, copied_bytes: 0, instances: 0, is_reported: false }
    }

    /// Counts the variables of a node, including those that all nodes share. Returns false, and reports it at the
    /// shared variables, if they exceed the limit.
    pub(super) fn take_variables(&mut self, node: &Node, root: &Item, diagnostics: &mut Diagnostics) -> bool {
        if self.limits.copied_bytes == usize::MAX {
            return true;
        }
        self.copied_bytes = self.copied_bytes.saturating_add(estimated_size(&node.variables));
        if self.copied_bytes <= self.limits.copied_bytes {
            return true;
        }
        let at = root.get("variables").unwrap_or(root);
        let message = format!(
            "every node gets a copy of these variables, which with its own is more than {} MB for all of them",
            self.limits.copied_bytes >> 20
        );
        let diagnostic = Diagnostic::error("variables.size", message).at(&at.at, "these variables");
        diagnostics.push(diagnostic.help("give the variables to the nodes that use them, or describe fewer nodes"));
        false
    }

    /// Counts the instances of a node, and reports at its line if there are too many.
    pub(super) fn take_instances(&mut self, node: &Node, item: &Item, diagnostics: &mut Diagnostics) {
        let (requested, limits) = (node.scaling.min, self.limits.instances);
        let scaling = item.get("scaling");
        let at = scaling.and_then(|scaling| scaling.get("min")).or(scaling).unwrap_or(item);
        self.instances = self.instances.saturating_add(requested.into());
        let (code, message) = if requested > limits.per_node {
            let message =
                format!("node `{}` asks for {requested} instances; a node may have {}", node.name, limits.per_node);
            ("scaling.too-many", message)
        } else if self.instances > limits.per_infrastructure.into() && !self.is_reported {
            self.is_reported = true;
            let (sum, most) = (self.instances, limits.per_infrastructure);
            let message = format!(
                "with node `{}` the infrastructure asks for {sum} instances; an infrastructure may have {most}",
                node.name
            );
            ("scaling.too-many", message)
        } else {
            return;
        };
        let help = "the operator of Occopus can allow more: `instances: {per_node: ..., per_infrastructure: ...}` in \
                    occopus_config.yaml";
        diagnostics.push(Diagnostic::error(code, message).at(&at.at, "too many").help(help));
    }
}

/// Estimates the bytes that a value takes up.
fn estimated_size(value: &Json) -> usize {
    VALUE_OVERHEAD_BYTES
        + match value {
            Json::String(text) => text.len(),
            Json::Array(items) => items.iter().map(estimated_size).sum(),
            Json::Object(fields) => {
                fields.iter().map(|(key, value)| VALUE_OVERHEAD_BYTES + key.len() + estimated_size(value)).sum()
            }
            _ => 0,
        }
}
