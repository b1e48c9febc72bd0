//! The operator's configuration: the files of state, the plugins and their grants, and limits. Read once from the
//! environment, the command line and one YAML file.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use occopus_model::{InstanceLimits, files};
use occopus_runtime::CallLimits;
use occopus_runtime::grants::{Grants, PluginGrants};
use serde::Deserialize;

use crate::config_error::ConfigError;
use crate::directories::{UserDirs, auth_data_in};
use crate::installed::InstalledPlugins;

/// Size limit of a configuration file, in bytes.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// The configuration in effect, from all files and variables.
#[derive(Debug, Clone)]
pub struct Config {
    /// The user's directories.
    pub directories: UserDirs,
    /// The file of the store.
    pub store: PathBuf,
    /// The user's credentials, if the command line or a variable names the file.
    pub auth_data: Option<PathBuf>,
    /// Candidates for the file of credentials if none is named: the first that exists counts, also one that is written later.
    pub auth_data_candidates: Vec<PathBuf>,
    /// Directories of plugins beside the bundled ones; later plugins replace earlier ones of the same keyword.
    pub plugin_directories: Vec<PathBuf>,
    /// Installed plugins, which are in the first of these directories.
    pub installed: InstalledPlugins,
    /// Grants of the plugins.
    pub grants: Grants,
    /// Budget of one call of a plugin.
    pub limits: CallLimits,
    /// Permission for templates to run commands on this machine (`cmd`).
    pub allow_commands: bool,
    /// Number of concurrent calls to one endpoint of a cloud; the engine's default if absent.
    pub calls_per_endpoint: Option<NonZeroUsize>,
    /// Seconds for which an endpoint without an answering server is retried; the engine's default if absent.
    pub unreachable_patience: Option<u64>,
    /// Limits of the number of instances of an infrastructure.
    pub instances: InstanceLimits,
    /// Settings of the service.
    pub service: ServiceSettings,
}

/// Settings of `occopus serve`, under the key `service`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSettings {
    /// Permission for descriptions that come over the network to run programs on this machine (the driver `local`).
    pub allow_processes: bool,
    /// Endpoints that such descriptions may name; any if empty.
    pub endpoints: Vec<String>,
    /// URLs on this machine and on private networks that their webhooks may have.
    pub webhooks: Vec<String>,
    /// Host names that the service accepts on a loopback address besides those of this machine, such as that of a proxy
    /// before it.
    pub names: Vec<String>,
    /// Origins whose pages may use the service, such as `https://occopus.example.org`; none if empty.
    pub cors_origins: Vec<String>,
    /// Number of requests per second of one caller.
    pub requests_per_second: Option<NonZeroU32>,
    /// Number of concurrent requests of one caller.
    pub requests_at_once: Option<NonZeroU32>,
    /// Number of concurrent event streams of one token.
    pub streams_per_token: Option<NonZeroUsize>,
    /// Size limit of a posted document, in bytes.
    pub document_bytes: Option<NonZeroUsize>,
}

/// Files that the command line names.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The configuration.
    pub config: Option<PathBuf>,
    /// The credentials.
    pub auth_data: Option<PathBuf>,
}

/// The content of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigFile {
    store: Option<PathBuf>,
    plugin_directories: Vec<PathBuf>,
    plugins: BTreeMap<String, PluginGrants>,
    limits: CallLimits,
    /// Permission for templates to run commands on this machine (`cmd`).
    allow_commands: bool,
    calls_per_endpoint: Option<NonZeroUsize>,
    unreachable_patience: Option<u64>,
    instances: InstanceLimits,
    service: ServiceSettings,
}

impl Config {
    /// Returns the defaults, with everything in this folder: the store, compiled plugins, and `auth_data.yaml` if there
    /// is one.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let directories = UserDirs { settings: folder.clone(), data: folder.clone(), cache: folder.join("cache") };
        Self {
            store: folder.join("store.db"),
            auth_data: None,
            auth_data_candidates: vec![auth_data_in(&folder)],
            plugin_directories: vec![folder.join("plugins")],
            installed: InstalledPlugins::default(),
            grants: Grants::default(),
            limits: CallLimits::default(),
            allow_commands: false,
            calls_per_endpoint: None,
            unreachable_patience: None,
            instances: InstanceLimits::default(),
            service: ServiceSettings::default(),
            directories,
        }
    }

    /// Reads the configuration from the files that are named, otherwise from the default ones. Also returns warnings.
    ///
    /// # Errors
    /// Returns [`ConfigError`] if there is no home directory, a named file does not exist, or a file cannot be read or
    /// has errors.
    pub fn load(overrides: &Overrides) -> Result<(Self, Vec<String>), ConfigError> {
        let directories = UserDirs::from_environment()?;
        let (auth_data, auth_data_candidates) = directories.auth_data_files(overrides.auth_data.as_deref())?;
        let mut warnings = Vec::new();
        let file = match directories.config_file(overrides.config.as_deref())? {
            Some(path) => read_config(&path, &mut warnings)?,
            None => ConfigFile::default(),
        };
        let mut plugin_directories = vec![directories.data.join("plugins")];
        let installed = InstalledPlugins::read(&plugin_directories[0])?;
        plugin_directories.extend(file.plugin_directories);
        let config = Self {
            store: file.store.unwrap_or_else(|| directories.data.join("store.db")),
            auth_data,
            auth_data_candidates,
            plugin_directories,
            installed,
            grants: Grants::of(file.plugins),
            limits: file.limits,
            allow_commands: file.allow_commands,
            calls_per_endpoint: file.calls_per_endpoint,
            unreachable_patience: file.unreachable_patience,
            instances: file.instances,
            service: file.service,
            directories,
        };
        Ok((config, warnings))
    }
}

fn read_config(path: &Path, warnings: &mut Vec<String>) -> Result<ConfigFile, ConfigError> {
    let text = files::read_text(path, MAX_CONFIG_BYTES)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    if is_python_occopus_config(&text) {
        warnings.push(format!("{} is a configuration of the Python Occopus, and is ignored", path.display()));
        return Ok(ConfigFile::default());
    }
    let invalid = |message: String| ConfigError::Invalid { path: path.to_owned(), message };
    // An empty file is a mapping without keys.
    let file = serde_yaml_ng::from_str::<Option<ConfigFile>>(&text).map_err(|error| invalid(error.to_string()))?;
    let mut file = file.unwrap_or_default();
    // Paths in the file are relative to its folder.
    let base = path.parent().unwrap_or(Path::new(""));
    file.store = file.store.map(|store| base.join(store));
    file.plugin_directories.iter_mut().for_each(|directory| *directory = base.join(&directory));
    Ok(file)
}

/// Returns whether this is a configuration of the Python Occopus: only that has `components`, and the tag that names
/// Python modules.
fn is_python_occopus_config(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("components:") || line.contains("!python_import"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Result<ConfigFile, String>, Vec<String>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("occopus_config.yaml");
        std::fs::write(&path, text).expect("written");
        let mut warnings = Vec::new();
        let file = read_config(&path, &mut warnings).map_err(|error| error.to_string());
        (file, warnings)
    }

    #[test]
    fn grants_of_an_error_message_can_be_pasted() {
        let (file, warnings) =
            read_text("plugins:\n  docker:\n    network: [\"registry.example:443\"]\n    interfaces: [icmp]\n");
        let file = file.expect("valid");
        assert_eq!(file.plugins["docker"].network.len(), 1);
        assert_eq!(file.plugins["docker"].interfaces.len(), 1);
        assert!(warnings.is_empty());
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let file = read_text("store: state/occopus.db\nplugin_directories: [mine, /opt/plugins]\n").0.expect("valid");
        assert!(file.store.is_some_and(|store| store.is_absolute() && store.ends_with("state/occopus.db")));
        assert!(file.plugin_directories[0].is_absolute());
        assert_eq!(file.plugin_directories[1], Path::new("/opt/plugins"));
    }

    #[test]
    fn calls_at_a_time_are_at_least_one() {
        let file = read_text("calls_per_endpoint: 100\n").0.expect("valid");
        assert_eq!(file.calls_per_endpoint.map(NonZeroUsize::get), Some(100));
        assert!(read_text("calls_per_endpoint: 0\n").0.is_err());
    }

    #[test]
    fn patience_is_in_seconds() {
        let file = read_text("unreachable_patience: 5\n").0.expect("valid");
        assert_eq!(file.unreachable_patience, Some(5));
        assert!(read_text("unreachable_patience: -1\n").0.is_err());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let message = read_text("store: x\nplugin_directory: y\n").0.expect_err("a wrong key");
        assert!(message.contains("plugin_directory") && message.contains("line 2"), "{message}");
        let message = read_text("plugins: {docker: {network: [nonsense]}}\n").0.expect_err("a wrong target");
        assert!(message.contains("nonsense"), "{message}");
        assert!(read_text("[").0.is_err());
    }

    #[test]
    fn an_empty_file_is_valid() {
        assert!(read_text("").0.expect("valid").store.is_none());
        assert!(read_text("# only a comment\n").0.is_ok());
    }

    #[test]
    fn a_configuration_of_the_python_program_is_ignored() {
        let old = "logging:\n  version: 1\ncomponents:\n  resourcehandler: !ResourceHandler &rh\n    protocol: null\n";
        let (file, warnings) = read_text(old);
        assert!(file.is_ok());
        assert_eq!(warnings.len(), 1);
        assert_eq!(read_text("plugins: !python_import\n  - occo.plugins.x\n").1.len(), 1);
    }
}
