//! The user's credentials, for whoever calls plugins: read once, chosen for each section.

use std::path::PathBuf;
use std::sync::OnceLock;

use occopus_engine::ports::{Fault, Reaction};
use occopus_model::{AuthData, Credential, Problems, Schemas, Section};
use occopus_runtime::CredentialSource;
use serde_json::Value;

/// The credentials in a file. Nothing is read before [`Credentials::read`].
#[derive(Debug)]
pub struct Credentials {
    path: Option<PathBuf>,
    data: OnceLock<AuthData>,
}

impl Credentials {
    /// Those in this file; none at all without one.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, data: OnceLock::new() }
    }

    /// Reads the file, once, and checks it against what the plugins say of their credentials. Gives warnings.
    pub fn read(&self, schemas: &dyn Schemas) -> Result<Problems, Problems> {
        let Some(path) = self.path.as_ref().filter(|_| self.data.get().is_none()) else {
            return Ok(Problems::default());
        };
        let (data, warnings) = AuthData::read(path, schemas)?;
        self.data.get_or_init(|| data);
        Ok(warnings)
    }
}

impl CredentialSource for Credentials {
    fn credential(&self, section: Section, settings: &Value) -> Result<Option<Credential>, Fault> {
        match (self.data.get(), &self.path) {
            (Some(data), _) => data
                .select(section, settings)
                .map_err(|error| Fault::new(Reaction::GiveUp, "credentials.ambiguous", error.to_string())),
            (None, None) => Ok(None),
            (None, Some(path)) => Err(Fault::new(
                Reaction::GiveUp,
                "credentials.unread",
                format!("the credentials in {} have not been read", path.display()),
            )),
        }
    }
}
