//! Faults: reasons why a call failed, in terms of what the host should do next.

use std::fmt;
use std::time::Duration;

use crate::Reaction;

/// A remark for the user beside the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// JSON pointer into the section, such as `/ports/0`, or empty.
    pub pointer: String,
    /// Text of one sentence.
    pub message: String,
}

/// Reason why a call failed. It never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Reaction of the host.
    pub reaction: Reaction,
    /// A stable code of the plugin's own, such as `docker.no-such-image`.
    pub code: String,
    /// Message for people: what failed, and the server's own words.
    pub message: String,
    /// Time before which the call is not repeated, if the server gave one.
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
    /// Returns a fault of a call that had no effect; the same call may succeed later.
    retry => Retry,
    /// Returns a fault of a call that will not succeed until the user changes something.
    give_up => GiveUp,
    /// Returns a fault of a call that may have had its effect.
    unknown_outcome => UnknownOutcome,
    /// Returns a fault of a call on a thing that does not exist.
    not_found => NotFound,
    /// Returns a fault of a call that met something that is not ours.
    conflict => Conflict,
    /// Returns a fault of credentials that are missing, wrong or without permission.
    denied => Denied,
    /// Returns a fault of a cloud without capacity, or of a quota that is used up.
    no_capacity => NoCapacity,
    /// Returns a fault of a call that the cloud does not support.
    unsupported => Unsupported,
}

impl Fault {
    /// Returns a fault with this reaction.
    pub fn new(reaction: Reaction, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reaction, code: code.into(), message: message.into(), retry_after: None, details: Vec::new() }
    }

    /// Adds a remark on a place in the user's section, by JSON pointer.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        self.details.push(Detail { pointer: pointer.into(), message: message.into() });
        self
    }

    /// Adds a remark for the user, such as a request id.
    #[must_use]
    pub fn detail(self, message: impl Into<String>) -> Self {
        self.at("", message)
    }

    /// Sets the time before which the call is not repeated.
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
