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
    /// Name, version and needs of the plugin.
    const ABOUT: About;

    /// Renders the sections of one node.
    ///
    /// # Errors
    /// A template error is `give-up`, with the pointer of the string that failed.
    fn render(request: &ContextRequest<Self::Section>) -> Result<Rendered, Fault>;
}

/// The node to contextualise.
pub struct ContextRequest<S> {
    /// Section that the user wrote, with templates unrendered.
    pub section: S,
    /// The `resource` section, unrendered.
    pub resource: Value,
    /// The variables for templates, an object.
    pub template_data: Value,
    /// The node's connections: an array of objects.
    pub connections: Value,
    /// Facts for the functions of templates.
    pub facts: Arc<dyn Facts>,
    pub(crate) call: Call,
}

impl<S> ContextRequest<S> {
    /// Returns the call in progress.
    pub fn call(&self) -> &Call {
        &self.call
    }
}

/// An instance that exists already.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Identity of the instance.
    pub instance_id: String,
    /// The node's name in the description.
    pub node_name: String,
    /// The first one is the node's address.
    pub addresses: Vec<Address>,
    /// Data that the host has of it, an object.
    pub data: Value,
}

/// Facts of the host, for the functions of templates.
pub trait Facts: Send + Sync {
    /// Returns the instances of a node, oldest first; those of all nodes if there is no name.
    fn instances(&self, node_name: Option<&str>) -> Vec<Instance>;

    /// Runs a command on the host, if the operator allowed it and granted `process` to this plugin.
    ///
    /// # Errors
    /// `denied` if it is not allowed.
    fn command(&self, line: &str) -> Result<String, Fault>;
}

/// Rendered sections.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendered {
    /// User data for the machine's first boot.
    pub user_data: Option<Vec<u8>>,
    /// Attributes for the driver, an object.
    pub attributes: Value,
    /// Keys for the `resource` section, an object: those that the driver's schema marks with `"x-fillable": true`. The host renders
    /// what the user wrote there itself.
    pub resource: Option<Value>,
}
