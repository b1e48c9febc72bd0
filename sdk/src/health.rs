//! Health checkers: check one node, once.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::Http;
use crate::{About, Address, Call, Fault};

pub use crate::bindings::health::exports::occopus::health::checker::Verdict;

/// A health checker. Thresholds, time-outs and what follows are the host's.
pub trait HealthChecker: 'static {
    /// Section that the user writes under the checker's key in `health_check`.
    type Section: DeserializeOwned + JsonSchema;
    /// Name, version and needs of the plugin.
    const ABOUT: About;

    /// Checks the node once.
    ///
    /// # Errors
    /// A fault if the section can't be used. An unhealthy node is not an error.
    fn check(target: &Target<Self::Section>) -> Result<Observation, Fault>;
}

/// The node to check.
pub struct Target<S> {
    /// Section that the user wrote.
    pub section: S,
    /// Address of the node: the first that the driver gave.
    pub address: String,
    /// All addresses of the node.
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
    /// Returns the call in progress.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Returns the HTTP client.
    pub fn http(&self) -> Http {
        Http::new(&self.call)
    }
}

/// Result of one check.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The conclusion.
    pub verdict: Verdict,
    /// Reason in one line: `port 80: connection refused`.
    pub reason: String,
    /// Parts of the check, with the result of each.
    pub details: Vec<(String, String)>,
}

impl Observation {
    fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into(), details: Vec::new() }
    }

    /// Returns the result of a check that found the node healthy.
    pub fn healthy(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Healthy, reason)
    }

    /// Returns the result of a check that found the node unhealthy.
    pub fn unhealthy(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Unhealthy, reason)
    }

    /// Returns the result of a check that proves nothing: it failed on its own side, not on the node's.
    pub fn cannot_tell(reason: impl Into<String>) -> Self {
        Self::new(Verdict::CannotTell, reason)
    }
}
