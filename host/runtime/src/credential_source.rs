//! The user's credentials, as calls of plugins need them.

use async_trait::async_trait;
use occopus_engine::ports::Fault;
use occopus_model::{Credential, SectionKind};
use serde_json::Value;

/// Source of the user's credentials for sections.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// Returns the credential for a section; none if no rule fits.
    ///
    /// # Errors
    /// Fails if several rules fit, or the user's file can't be read.
    fn credential(&self, section: SectionKind, settings: &Value) -> Result<Option<Credential>, Fault>;

    /// Reads again what has changed or expired since. Called before each call of a plugin that has credentials.
    async fn refresh(&self) {}

    /// Reads the credentials again after a cloud denied this one for a section. Returns whether the section has another
    /// one now.
    async fn renew(&self, _section: SectionKind, _settings: &Value, _denied: &Credential) -> bool {
        false
    }
}
