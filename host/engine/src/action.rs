//! Actions, and the plan of a build that they make up. The computation of a plan must not be known here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The actions of a build. `plan` prints exactly what `build` runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Plan {
    /// Actions in the order of the description; removals last.
    pub actions: Vec<Action>,
}

/// Step of a plan: for one instance, or for several new instances of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Action {
    /// Kind of the action.
    pub kind: ActionKind,
    /// The node's name.
    pub node: String,
    /// Number of instances; more than 1 only for new ones.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// UUID of the instance, if it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Keyword of the instance's driver; for a new instance, of all drivers that it may get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// Reason for the action, in one sentence.
    pub reason: String,
    /// Names of the nodes that must be ready before this starts; for a removal, of the nodes that must be gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Parts that have changed since the instance was created: "type", "variables", "definition".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Addresses that the instance refers to and that no longer exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<String>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

/// Kind of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// Create a new instance.
    Create,
    /// Find out how far an earlier run came with the instance, and finish it.
    Resume,
    /// Observe an instance that was ready.
    Check,
    /// Remove a dead instance and create a new one.
    Replace,
    /// Create a new instance in the place of a healthy one that has drifted; remove the old one when the new one is
    /// ready.
    #[serde(rename = "renew")]
    ReplaceDrifted,
    /// Remove the instance.
    Destroy,
}

impl Plan {
    /// Returns whether nothing would be created or removed.
    pub fn is_unchanged(&self) -> bool {
        self.actions.iter().all(|action| action.kind == ActionKind::Check)
    }

    /// Returns the number of instances with an action of this kind.
    pub fn count(&self, kind: ActionKind) -> usize {
        self.actions.iter().filter(|action| action.kind == kind).map(|action| action.count as usize).sum()
    }

    /// Returns the plan in one line: "2 to create, 1 to destroy".
    pub fn summary(&self) -> String {
        let kinds = [
            (ActionKind::Create, "to create"),
            (ActionKind::Resume, "to finish"),
            (ActionKind::Replace, "to replace"),
            (ActionKind::ReplaceDrifted, "to renew"),
            (ActionKind::Destroy, "to destroy"),
        ];
        let drifted =
            self.actions.iter().filter(|action| action.kind == ActionKind::Check && action.has_drifted()).count();
        let mut parts = kinds.map(|(kind, words)| (self.count(kind), words)).to_vec();
        parts.push((drifted, "drifted, not selected for replacement"));
        parts.push((self.count(ActionKind::Check) - drifted, "unchanged"));
        let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, words)| format!("{n} {words}")).collect();
        if parts.is_empty() { "nothing to do".into() } else { parts.join(", ") }
    }
}

impl Action {
    /// Returns whether the instance differs from what it would be if it were created now.
    pub fn has_drifted(&self) -> bool {
        !self.changed.is_empty() || !self.stale.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for action in &self.actions {
            writeln!(f, "{action}")?;
        }
        write!(f, "{}", self.summary())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.node)?;
        if self.count > 1 {
            write!(f, ", {} times", self.count)?;
        }
        if let Some(instance) = &self.instance {
            write!(f, " ({instance})")?;
        }
        if !self.on.is_empty() {
            write!(f, " on {}", self.on.join(" or "))?;
        }
        if !self.after.is_empty() {
            write!(f, " after {}", self.after.join(", "))?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Resume => "finish",
            Self::Check => "check",
            Self::Replace => "replace",
            Self::ReplaceDrifted => "renew",
            Self::Destroy => "destroy",
        })
    }
}
