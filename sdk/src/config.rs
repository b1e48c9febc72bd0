//! Config managers: configure nodes by other means than their first boot.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::http::Http;
use crate::{About, Cache, Call, Credential, Credentials, Fault};

pub use crate::bindings::config::exports::occopus::config::manager::Phase as ConfigPhase;

/// A config manager. Every function is idempotent and may be repeated. The defaults suit a manager without a server.
pub trait ConfigManager: 'static {
    /// The `config_management` section without `type`, rendered; put `deny_unknown_fields` on it.
    type Section: DeserializeOwned + JsonSchema;
    /// Credentials that it logs in with, or [`crate::NoCredentials`].
    type Credentials: Credentials;
    /// Name, version and needs of the plugin.
    const ABOUT: About;

    /// Returns the variables that it adds to the templates of a node, an object. Pure: no network, and no credential.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn template_data(_scope: &ConfigScope<Self::Section>) -> Result<Value, Fault> {
        Ok(json!({}))
    }

    /// Makes what the infrastructure needs on the server. Called before the first node is created.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn prepare(_scope: &ConfigScope<Self::Section>) -> Result<(), Fault> {
        Ok(())
    }

    /// Removes what [`ConfigManager::prepare`] made. Called after the last node is gone; succeeds if it does not exist.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn remove(_scope: &ConfigScope<Self::Section>) -> Result<(), Fault> {
        Ok(())
    }

    /// Registers a node. Called before its machine is created.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn register(_node: &Registration<Self::Section>) -> Result<(), Fault> {
        Ok(())
    }

    /// Removes a node. Called after its machine is gone; succeeds if it does not exist.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn deregister(_scope: &ConfigScope<Self::Section>, _instance_id: &str) -> Result<(), Fault> {
        Ok(())
    }

    /// Returns the phase of each node: as many as ids, in their order.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn observe(_scope: &ConfigScope<Self::Section>, instance_ids: &[String]) -> Result<Vec<ConfigPhase>, Fault> {
        Ok(vec![ConfigPhase::Ready; instance_ids.len()])
    }

    /// Returns an attribute of a node by its dotted name, if it has it.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn attribute(_scope: &ConfigScope<Self::Section>, _instance_id: &str, _name: &str) -> Result<Option<Value>, Fault> {
        Ok(None)
    }
}

/// Access to one configuration server, for one infrastructure.
pub struct ConfigScope<S> {
    /// Section that the user wrote.
    pub section: S,
    /// Id of the infrastructure.
    pub infrastructure_id: String,
    pub(crate) call: Call,
    pub(crate) credential: Option<Credential>,
}

impl<S> ConfigScope<S> {
    /// Returns the call in progress: time left, cancellation, progress.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Returns the HTTP client.
    pub fn http(&self) -> Http {
        Http::new(&self.call)
    }

    /// Returns the memory across calls.
    pub fn cache(&self) -> Cache {
        Cache(())
    }

    /// Returns the credential; none if no rule of the user's credentials matches.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }
}

/// A node instance, before its machine exists.
pub struct Registration<S> {
    /// The access to the server.
    pub scope: ConfigScope<S>,
    /// The identity of this instance.
    pub instance_id: String,
    /// The node's name in the description.
    pub node_name: String,
    /// The rendered attributes, an object.
    pub attributes: Value,
}
