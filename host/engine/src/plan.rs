//! What is to be done, as an ordered graph: a pure function of what should exist and what does.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a build does. What `plan` prints is what runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of the description; removals last.
    pub actions: Vec<Action>,
}

/// Something to do with one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// What.
    pub kind: ActionKind,
    /// The node's name.
    pub node: String,
    /// UUID of the instance, when it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// One sentence: why.
    pub reason: String,
    /// Names of the nodes that must be ready before this starts; for a removal: that must be gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// What to do with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// Make a new one.
    Create,
    /// Find out what became of it, and finish it.
    Resume,
    /// It is ready: look whether it still is.
    Check,
    /// Remove it and make a new one.
    Replace,
    /// Remove it.
    Destroy,
}

impl Plan {
    /// Whether nothing would be created or removed.
    pub fn is_unchanged(&self) -> bool {
        self.actions.iter().all(|action| action.kind == ActionKind::Check)
    }

    /// How many actions of this kind there are.
    pub fn count(&self, kind: ActionKind) -> usize {
        self.actions.iter().filter(|action| action.kind == kind).count()
    }

    /// In a line: "2 to create, 1 to destroy".
    pub fn summary(&self) -> String {
        let kinds = [
            (ActionKind::Create, "to create"),
            (ActionKind::Resume, "to finish"),
            (ActionKind::Replace, "to replace"),
            (ActionKind::Destroy, "to destroy"),
            (ActionKind::Check, "unchanged"),
        ];
        let parts = kinds.map(|(kind, words)| (self.count(kind), words));
        let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, words)| format!("{n} {words}")).collect();
        if parts.is_empty() { "nothing to do".into() } else { parts.join(", ") }
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
        if let Some(instance) = &self.instance {
            write!(f, " ({instance})")?;
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
            Self::Destroy => "destroy",
        })
    }
}
