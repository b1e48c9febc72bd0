//! Health checkers: look at one node, once.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::Http;
use crate::{About, Address, Call, Fault};

pub use crate::bindings::health::exports::occopus::health::checker::Verdict;

/// A health checker. Thresholds, time-outs and what follows are the host's.
pub trait HealthChecker: 'static {
    /// What the user writes under the checker's key in `health_check`.
    type Section: DeserializeOwned + JsonSchema;
    /// What it says of itself.
    const ABOUT: About;

    /// One look.
    ///
    /// # Errors
    /// A fault means that the section can't be used, not that the node is unhealthy.
    fn check(target: &Target<Self::Section>) -> Result<Observation, Fault>;
}

/// The node to look at.
pub struct Target<S> {
    /// What the user wrote.
    pub section: S,
    /// The node's address: the first that the driver gave.
    pub address: String,
    /// All of them.
    pub addresses: Vec<Address>,
    /// The node's name in the description.
    pub node_name: String,
    /// The identity of the instance.
    pub instance_id: String,
    /// Variables for templates in the section, an object.
    pub template_data: Value,
    pub(crate) call: Call,
}

impl<S> Target<S> {
    /// The call in progress.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The HTTP client.
    pub fn http(&self) -> Http {
        Http::new(&self.call)
    }
}

/// The result of one look.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The conclusion.
    pub verdict: Verdict,
    /// One line: `port 80: connection refused`.
    pub reason: String,
    /// What was looked at, with the result of each.
    pub details: Vec<(String, String)>,
}

impl Observation {
    fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into(), details: Vec::new() }
    }

    /// All is well.
    pub fn healthy(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Healthy, reason)
    }

    /// It is not.
    pub fn unhealthy(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Unhealthy, reason)
    }

    /// Nothing can be concluded; our own fault, not the node's.
    pub fn cannot_tell(reason: impl Into<String>) -> Self {
        Self::new(Verdict::CannotTell, reason)
    }
}
