//! Directories and files of the user on this machine.

use std::env;
use std::path::{Path, PathBuf};

use etcetera::{BaseStrategy, choose_base_strategy};

use crate::config_error::ConfigError;

/// Name of the operator's configuration, wherever it lies.
const CONFIG_FILE_NAME: &str = "occopus_config.yaml";
/// Name of the user's credentials, wherever they lie.
const AUTH_DATA_FILE_NAME: &str = "auth_data.yaml";

/// The directories of this user, or everything below `$OCCOPUS_HOME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDirs {
    /// Configuration and credentials of the user.
    pub settings: PathBuf,
    /// State that must be kept: the store, installed plugins, records of local processes.
    pub data: PathBuf,
    /// State that may be lost: compiled plugins.
    pub cache: PathBuf,
}

impl UserDirs {
    /// Determines the directories from the environment.
    ///
    /// # Errors
    /// Returns [`ConfigError::NoHome`] if there is no home directory.
    pub fn from_environment() -> Result<Self, ConfigError> {
        if let Some(home) = path_variable("OCCOPUS_HOME") {
            let home = std::path::absolute(&home).unwrap_or(home);
            return Ok(Self { cache: home.join("cache"), settings: home.clone(), data: home });
        }
        let base = choose_base_strategy().map_err(|_| ConfigError::NoHome)?;
        Ok(Self {
            settings: base.home_dir().join(".occopus"),
            data: base.data_dir().join("occopus"),
            cache: base.cache_dir().join("occopus"),
        })
    }

    /// Returns the operator's configuration: the named file, otherwise the first that exists.
    pub(crate) fn config_file(&self, named: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
        find_file(named, "OCCOPUS_CONFIG_PATH", &self.settings, CONFIG_FILE_NAME)
    }

    /// Returns the user's credentials: the named file, and the candidates if none is named.
    pub(crate) fn auth_data_files(&self, named: Option<&Path>) -> Result<(Option<PathBuf>, Vec<PathBuf>), ConfigError> {
        let candidates = vec![self.settings.join(AUTH_DATA_FILE_NAME), PathBuf::from(AUTH_DATA_FILE_NAME)];
        Ok((explicit_file(named, "OCCOPUS_AUTH_DATA_PATH")?, candidates))
    }
}

/// Returns the path of the user's credentials in a folder.
pub(crate) fn auth_data_in(folder: &Path) -> PathBuf {
    folder.join(AUTH_DATA_FILE_NAME)
}

/// Returns the named file, which must exist; otherwise the first default file that exists, if any.
fn find_file(
    named: Option<&Path>,
    variable_name: &'static str,
    settings: &Path,
    name: &str,
) -> Result<Option<PathBuf>, ConfigError> {
    let default = || [settings.join(name), PathBuf::from(name)].into_iter().find(|path| path.is_file());
    Ok(explicit_file(named, variable_name)?.or_else(default))
}

/// Returns the file that the command line names, otherwise the variable. It must exist.
fn explicit_file(named: Option<&Path>, variable_name: &'static str) -> Result<Option<PathBuf>, ConfigError> {
    let named = named.map(|path| (path.to_owned(), "the command line"));
    match named.or_else(|| path_variable(variable_name).map(|path| (path, variable_name))) {
        Some((path, by)) if !path.is_file() => Err(ConfigError::FileNotFound { path, by }),
        named => Ok(named.map(|(path, _)| path)),
    }
}

fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
