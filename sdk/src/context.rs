//! Contextualisers: render what a node gets to know when it starts.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{About, Address, Call, Fault};

/// A contextualiser. Pure: the same answer for the same inputs.
pub trait Contextualiser: 'static {
    /// The `contextualisation` section without `type`.
    type Section: DeserializeOwned + JsonSchema;
    /// What it says of itself.
    const ABOUT: About;

    /// Renders for one node.
    ///
    /// # Errors
    /// A template error is `give-up`, with the pointer of the string that failed.
    fn render(request: &ContextRequest<Self::Section>) -> Result<Rendered, Fault>;
}

/// The node to contextualise.
pub struct ContextRequest<S> {
    /// What the user wrote, templates unrendered.
    pub section: S,
    /// The `resource` section, unrendered.
    pub resource: Value,
    /// The variables for templates, an object.
    pub template_data: Value,
    /// The node's connections: an array of objects.
    pub connections: Value,
    /// What templates may ask for.
    pub facts: Arc<dyn Facts>,
    pub(crate) call: Call,
}

impl<S> ContextRequest<S> {
    /// The call in progress.
    pub fn call(&self) -> &Call {
        &self.call
    }
}

/// An instance that exists already.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its identity.
    pub instance_id: String,
    /// The node's name in the description.
    pub node_name: String,
    /// The first one is the node's address.
    pub addresses: Vec<Address>,
    /// All that is known of it, an object.
    pub data: Value,
}

/// What the host knows when a template asks.
pub trait Facts: Send + Sync {
    /// The instances of a node, oldest first; of all nodes when no name is given.
    fn instances(&self, node_name: Option<&str>) -> Vec<Instance>;

    /// Runs a command on the host, if the operator allowed it and granted `process` to this plugin.
    ///
    /// # Errors
    /// `denied` when not allowed.
    fn command(&self, line: &str) -> Result<String, Fault>;
}

/// What was rendered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendered {
    /// For the machine's first boot.
    pub user_data: Option<Vec<u8>>,
    /// For the driver, an object.
    pub attributes: Value,
    /// Keys for the `resource` section, an object: those that the driver's schema marks with `"x-fillable": true`. The host renders
    /// what the user wrote there itself.
    pub resource: Option<Value>,
}
