//! Health checkers: look at one node, once.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{About, Address, Call, Fault, Http};

/// A health checker. Thresholds, time-outs and what follows are the host's.
pub trait HealthChecker: 'static {
    /// What the user writes under the checker's key in `health_check`.
    type Section: DeserializeOwned + JsonSchema;
    /// What it says of itself.
    const ABOUT: About<'static>;

    /// One look.
    ///
    /// # Errors
    /// A fault means that the section can't be used, not that the node is unhealthy.
    fn check(target: &Target<Self::Section>) -> Result<Observation, Fault>;
}

/// The node to look at.
#[derive(Debug)]
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
    /// Variables for templates in the section.
    pub template_data: Map<String, Value>,
    pub(crate) call: Call,
}

impl<S> Target<S> {
    /// The call in progress.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The HTTP client.
    pub fn http(&self) -> Http<'_> {
        Http::new(&self.call)
    }
}

/// What one look concludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Healthy,
    /// It is not.
    Unhealthy,
    /// Nothing can be concluded; our own fault, not the node's.
    CannotTell,
}

/// The result of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The conclusion.
    pub verdict: Verdict,
    /// One line: `port 80: connection refused`.
    pub reason: String,
    /// What was looked at, with the result of each.
    pub details: Vec<(String, String)>,
}

impl Observation {
    /// An observation without details.
    pub fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self {
            verdict,
            reason: reason.into(),
            details: Vec::new(),
        }
    }

    /// Concludes from several looks: each is what was looked at and `Ok` with a word, or `Err` with the complaint.
    /// Healthy when there is no complaint; the reason names the first.
    pub fn of_all(looks: Vec<(String, Result<String, String>)>) -> Self {
        let complaint = looks
            .iter()
            .find_map(|(what, result)| result.as_ref().err().map(|why| format!("{what}: {why}")));
        let verdict = if complaint.is_some() {
            Verdict::Unhealthy
        } else {
            Verdict::Healthy
        };
        Self {
            verdict,
            reason: complaint.unwrap_or_else(|| "ready".to_owned()),
            details: looks
                .into_iter()
                .map(|(what, result)| (what, result.unwrap_or_else(|why| why)))
                .collect(),
        }
    }
}
