//! Config managers: configure nodes by other means than their first boot.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::http::Http;
use crate::{About, Cache, Call, Credential, Credentials, Fault};

pub use crate::bindings::config::exports::occopus::config::manager::Phase as ConfigPhase;

/// A config manager. Every function is idempotent and may be repeated. What a manager without a server does not need, it
/// leaves as it is.
pub trait ConfigManager: 'static {
    /// The `config_management` section without `type`, rendered; put `deny_unknown_fields` on it.
    type Section: DeserializeOwned + JsonSchema;
    /// What it logs in with; [`crate::NoCredentials`] when nothing.
    type Credentials: Credentials;
    /// What it says of itself.
    const ABOUT: About;

    /// Variables that it adds to the templates of a node: an object. Pure: no network, and no credential.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn template_data(_scope: &ConfigScope<Self::Section>) -> Result<Value, Fault> {
        Ok(json!({}))
    }

    /// Before the first node: makes what the infrastructure needs on the server.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn prepare(_scope: &ConfigScope<Self::Section>) -> Result<(), Fault> {
        Ok(())
    }

    /// After the last node: removes it. Ok when it is not there.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn remove(_scope: &ConfigScope<Self::Section>) -> Result<(), Fault> {
        Ok(())
    }

    /// Before the machine is created.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn register(_node: &Registration<Self::Section>) -> Result<(), Fault> {
        Ok(())
    }

    /// After the machine is gone. Ok when it is not there.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn deregister(_scope: &ConfigScope<Self::Section>, _instance_id: &str) -> Result<(), Fault> {
        Ok(())
    }

    /// Has each node been configured? As many answers as ids, in their order.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn observe(_scope: &ConfigScope<Self::Section>, instance_ids: &[String]) -> Result<Vec<ConfigPhase>, Fault> {
        Ok(vec![ConfigPhase::Ready; instance_ids.len()])
    }

    /// An attribute of a node by its dotted name; none when it has none.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn attribute(_scope: &ConfigScope<Self::Section>, _instance_id: &str, _name: &str) -> Result<Option<Value>, Fault> {
        Ok(None)
    }
}

/// One access to one configuration server, for one infrastructure.
pub struct ConfigScope<S> {
    /// What the user wrote.
    pub section: S,
    /// Of the infrastructure.
    pub infrastructure_id: String,
    pub(crate) call: Call,
    pub(crate) credential: Option<Credential>,
}

impl<S> ConfigScope<S> {
    /// The call in progress: time left, cancellation, progress.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The HTTP client.
    pub fn http(&self) -> Http {
        Http::new(&self.call)
    }

    /// A small memory across calls.
    pub fn cache(&self) -> Cache {
        Cache(())
    }

    /// None when no rule of the user's credentials matches.
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
