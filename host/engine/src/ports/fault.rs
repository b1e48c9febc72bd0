//! Why a plugin call failed, typed by what to do next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the engine does next. The engine branches on this and on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// Nothing happened; the same call may succeed later.
    Retry,
    /// Will not succeed until the user changes something.
    GiveUp,
    /// It may have happened. Always leads to `find`, never to a blind retry.
    UnknownOutcome,
    /// The thing does not exist.
    NotFound,
    /// Clashes with something that exists and is not ours.
    Conflict,
    /// Refused: credentials missing, wrong, or without permission.
    Denied,
    /// No capacity or quota here; another implementation may be tried.
    NoCapacity,
    /// This cloud cannot do that.
    Unsupported,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What to do next.
    pub reaction: Reaction,
    /// Stable code for programs, such as `docker.no-such-image`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Not before this long, when the server said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// No server could be connected to, so that waiting long is of little use. The host knows; plugins don't say it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreachable: bool,
    /// More to show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// One more thing to show beside a [`Fault`]'s message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// JSON pointer (RFC 6901) from the root of the implementation in the node definition, such as `/resource/image`;
    /// empty when it is about nothing that the user wrote.
    pub pointer: String,
    /// One sentence.
    pub message: String,
}

impl Fault {
    /// A fault without details.
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
