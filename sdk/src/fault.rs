//! Why a call failed, said in terms of what the host should do next.

use std::fmt;
use std::time::Duration;

use crate::Reaction;

/// One thing that the user should see beside the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// JSON pointer into the section, such as `/ports/0`, or empty.
    pub pointer: String,
    /// One sentence.
    pub message: String,
}

/// Why a call failed. Never put a secret here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What the host should do.
    pub reaction: Reaction,
    /// A stable code of the plugin's own, such as `docker.no-such-image`.
    pub code: String,
    /// For people: what failed, and the server's own words.
    pub message: String,
    /// Not before this time has passed, when the server says so.
    pub retry_after: Option<Duration>,
    /// Request ids, positions in the user's section and the like.
    pub details: Vec<Detail>,
}

macro_rules! reactions {
    ($($(#[$doc:meta])* $name:ident => $reaction:ident),+ $(,)?) => {
        impl Fault {
            $(
                $(#[$doc])*
                pub fn $name(code: impl Into<String>, message: impl Into<String>) -> Self {
                    Self::new(Reaction::$reaction, code, message)
                }
            )+
        }
    };
}

reactions! {
    /// Nothing happened; the same call may succeed later.
    retry => Retry,
    /// It will not succeed until the user changes something.
    give_up => GiveUp,
    /// It may have happened.
    unknown_outcome => UnknownOutcome,
    /// The thing does not exist.
    not_found => NotFound,
    /// Something that is not ours is in the way.
    conflict => Conflict,
    /// Credentials missing, wrong or without permission.
    denied => Denied,
    /// No capacity or quota.
    no_capacity => NoCapacity,
    /// The cloud cannot do that.
    unsupported => Unsupported,
}

impl Fault {
    /// A fault with this reaction.
    pub fn new(reaction: Reaction, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reaction, code: code.into(), message: message.into(), retry_after: None, details: Vec::new() }
    }

    /// Points at a place in the user's section, by JSON pointer.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        self.details.push(Detail { pointer: pointer.into(), message: message.into() });
        self
    }

    /// Adds something that the user should see, such as a request id.
    #[must_use]
    pub fn detail(self, message: impl Into<String>) -> Self {
        self.at("", message)
    }

    /// Not before this time has passed.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Fault {}
