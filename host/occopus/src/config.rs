//! The operator's configuration: where state is kept, which plugins there are, and what they may do.

use std::collections::BTreeMap;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use occopus_model::{InstanceLimits, files};
use occopus_runtime::CallLimits;
use occopus_runtime::grants::{Grants, PluginGrants};
use serde::Deserialize;

use crate::directories::{UserDirs, auth_data_in};
use crate::installed::{InstallError, InstalledPlugins};

/// Bytes of a configuration.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// What is used, after all files and variables were looked at.
#[derive(Debug, Clone)]
pub struct Config {
    /// The user's directories.
    pub directories: UserDirs,
    /// The file of the store.
    pub store: PathBuf,
    /// The user's credentials, when somebody named the file.
    pub auth_data: Option<PathBuf>,
    /// Where they may be otherwise: the first that exists counts, also one that is written later.
    pub auth_data_candidates: Vec<PathBuf>,
    /// Where plugins are found beside the bundled ones; later ones replace earlier ones of the same keyword.
    pub plugin_directories: Vec<PathBuf>,
    /// Plugins that were installed, which are in the first of these directories.
    pub installed: InstalledPlugins,
    /// What plugins may do.
    pub grants: Grants,
    /// What a call may use up.
    pub limits: CallLimits,
    /// Whether templates may run commands on this machine (`cmd`).
    pub allow_commands: bool,
    /// Calls that go to one endpoint of a cloud at the same time; the engine's own number when there is none.
    pub calls_per_endpoint: Option<NonZeroUsize>,
    /// Seconds for which an endpoint is tried where no server answers; the engine's own number when there is none.
    pub unreachable_patience: Option<u64>,
    /// Most instances that an infrastructure may have.
    pub instances: InstanceLimits,
    /// How the service works.
    pub service: ServiceSettings,
}

/// `service`: how `occopus serve` works.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSettings {
    /// Whether descriptions that come over the network may run programs on this machine (the driver `local`).
    pub allow_processes: bool,
    /// The endpoints that they may name; any when empty.
    pub endpoints: Vec<String>,
    /// The URLs on this machine and on private networks that their webhooks may have.
    pub webhooks: Vec<String>,
    /// Names that the service answers to on a loopback address, besides those of this machine: that of a proxy before it.
    pub names: Vec<String>,
    /// Origins whose pages may use the service, such as `https://occopus.example.org`; none when empty.
    pub cors_origins: Vec<String>,
    /// Requests of one caller in a second.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests of one caller at once.
    pub requests_at_once: Option<NonZeroU32>,
    /// Event streams of one token at a time.
    pub streams_per_token: Option<NonZeroUsize>,
    /// Bytes of a posted document, at most.
    pub document_bytes: Option<NonZeroUsize>,
}

/// What the command line says of it.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Of the configuration.
    pub config: Option<PathBuf>,
    /// Of the credentials.
    pub auth_data: Option<PathBuf>,
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither `$HOME` nor `$OCCOPUS_HOME`.
    #[error("there is no home directory: set HOME, or OCCOPUS_HOME to a folder for everything")]
    NoHome,
    /// A file that somebody named is not there.
    #[error("there is no file {path}, which {by} names")]
    FileNotFound {
        /// The file.
        path: PathBuf,
        /// Who named it.
        by: &'static str,
    },
    /// It can't be read.
    #[error("the configuration {path} can't be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The list of installed plugins is broken.
    #[error(transparent)]
    Installed(#[from] InstallError),
    /// It is not what it should be.
    #[error("the configuration {path} is not usable: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// The file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigFile {
    store: Option<PathBuf>,
    plugin_directories: Vec<PathBuf>,
    plugins: BTreeMap<String, PluginGrants>,
    limits: CallLimits,
    /// Whether templates may run commands on this machine (`cmd`).
    allow_commands: bool,
    calls_per_endpoint: Option<NonZeroUsize>,
    unreachable_patience: Option<u64>,
    instances: InstanceLimits,
    service: ServiceSettings,
}

impl Config {
    /// The defaults, with everything in this folder: the store, compiled plugins, and `auth_data.yaml` if there is one.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let places = UserDirs { settings: folder.clone(), data: folder.clone(), cache: folder.join("cache") };
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
            directories: places,
        }
    }

    /// Reads it from the usual places. Also gives warnings.
    pub fn load(overrides: &Overrides) -> Result<(Self, Vec<String>), ConfigError> {
        let places = UserDirs::from_environment()?;
        let (auth_data, auth_places) = places.auth_data_files(overrides.auth_data.as_deref())?;
        let mut warnings = Vec::new();
        let file = match places.config_file(overrides.config.as_deref())? {
            Some(path) => read_config(&path, &mut warnings)?,
            None => ConfigFile::default(),
        };
        let mut plugin_directories = vec![places.data.join("plugins")];
        let installed = InstalledPlugins::read(&plugin_directories[0])?;
        plugin_directories.extend(file.plugin_directories);
        let config = Self {
            store: file.store.unwrap_or_else(|| places.data.join("store.db")),
            auth_data,
            auth_data_candidates: auth_places,
            plugin_directories,
            installed,
            grants: Grants::of(file.plugins),
            limits: file.limits,
            allow_commands: file.allow_commands,
            calls_per_endpoint: file.calls_per_endpoint,
            unreachable_patience: file.unreachable_patience,
            instances: file.instances,
            service: file.service,
            directories: places,
        };
        Ok((config, warnings))
    }
}

fn read_config(path: &Path, warnings: &mut Vec<String>) -> Result<ConfigFile, ConfigError> {
    let text = files::read_text(path, MAX_CONFIG_BYTES)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    if is_python_occopus_config(&text) {
        warnings.push(format!(
            "{} is a configuration of the Python Occopus; nothing of it applies here and it is ignored",
            path.display()
        ));
        return Ok(ConfigFile::default());
    }
    let invalid = |message: String| ConfigError::Invalid { path: path.to_owned(), message };
    // An empty file is a mapping without keys.
    let file = serde_yaml_ng::from_str::<Option<ConfigFile>>(&text).map_err(|error| invalid(error.to_string()))?;
    let mut file = file.unwrap_or_default();
    // Paths in a file are meant from where the file is.
    let base = path.parent().unwrap_or(Path::new(""));
    file.store = file.store.map(|store| base.join(store));
    file.plugin_directories.iter_mut().for_each(|directory| *directory = base.join(&directory));
    Ok(file)
}

/// Its `components` and the tag by which it names Python modules exist nowhere else.
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
    fn a_refusal_can_be_pasted() {
        let (file, warnings) =
            read_text("plugins:\n  docker:\n    network: [\"registry.example:443\"]\n    interfaces: [icmp]\n");
        let file = file.expect("valid");
        assert_eq!(file.plugins["docker"].network.len(), 1);
        assert_eq!(file.plugins["docker"].interfaces.len(), 1);
        assert!(warnings.is_empty());
    }

    #[test]
    fn paths_are_meant_from_the_file() {
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
    fn an_empty_file_says_nothing() {
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
