//! Faults of plugin calls, typed by the reaction of the engine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The reaction that a fault requests from the engine, which branches on this and on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// Retry: the call had no effect, and may succeed later.
    Retry,
    /// Fail: the call will not succeed until the user changes something.
    GiveUp,
    /// Unresolved outcome: the call may have had its effect. Leads to `find`, never to a blind retry.
    UnknownOutcome,
    /// The object of the call does not exist.
    NotFound,
    /// Conflict with something that exists and is not owned by this infrastructure.
    Conflict,
    /// Access denied: the credentials are missing, wrong, or lack a permission.
    Denied,
    /// Lack of capacity or quota; another implementation may be tried.
    NoCapacity,
    /// The cloud or its driver does not support the call.
    Unsupported,
}

/// The answer of a plugin's call that failed, with the reaction that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Reaction of the engine.
    pub reaction: Reaction,
    /// Stable code for programs, such as `docker.no-such-image`.
    pub code: String,
    /// Message for people.
    pub message: String,
    /// Shortest pause before the next attempt, if the server gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// Set by the host, never by plugins, if no server could be connected to: a long wait is then of little use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreachable: bool,
    /// Further messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// A further message of a [`Fault`], about a part of the user's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// JSON pointer (RFC 6901) from the root of the implementation in the node definition, such as `/resource/image`;
    /// empty if it is not about the user's text.
    pub pointer: String,
    /// Message of one sentence.
    pub message: String,
}

impl Fault {
    /// Creates a fault without details.
    pub fn new(reaction: Reaction, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reaction,
            code: code.into(),
            message: message.into(),
            retry_after: None,
            unreachable: false,
            details: Vec::new(),
        }
    }
}
