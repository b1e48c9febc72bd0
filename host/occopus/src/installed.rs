//! Installed plugins: copies of files, pinned by their digests, with what the operator granted to them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use occopus_model::files;
use occopus_runtime::grants::PluginGrants;
use occopus_runtime::{Consent, Kind, PluginInfo};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The list, beside the files.
const LOCK_FILE_NAME: &str = "plugins.lock.yaml";

/// What is installed, by the name of its file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstalledPlugins {
    plugins: BTreeMap<String, InstalledPlugin>,
    #[serde(skip)]
    directory: PathBuf,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InstalledPlugin {
    name: String,
    version: String,
    sha256: String,
    /// None in lists of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyword: Option<String>,
    /// True when somebody agreed that it replaces another plugin of its kind and keyword.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    replaces: bool,
    /// What it was granted, in the words of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    network: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<String>,
}

/// Why a plugin can't be installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The directory of plugins, or a file in it.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The list of what is installed is not readable.
    #[error("the list of installed plugins {path} is broken: {message}")]
    InvalidLockFile {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The file was changed since it was looked at.
    #[error("the file of the plugin `{0}` was changed meanwhile; look at it again")]
    FileChanged(String),
    /// It asks for something that there is not.
    #[error("the plugin asks for what can't be granted: {0}")]
    InvalidNeed(String),
}

impl InstalledPlugins {
    /// Reads the list in a directory. Without one, nothing is installed.
    pub fn read(directory: &Path) -> Result<Self, InstallError> {
        let path = directory.join(LOCK_FILE_NAME);
        let broken = |message: String| InstallError::InvalidLockFile { path: path.clone(), message };
        let mut installed = match fs::read_to_string(&path) {
            Ok(text) => serde_yaml_ng::from_str::<Option<Self>>(&text)
                .map_err(|error| broken(error.to_string()))?
                .unwrap_or_default(),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Self::default()
            }
            Err(source) => return Err(InstallError::Io { path, source }),
        };
        directory.clone_into(&mut installed.directory);
        for entry in installed.plugins.values() {
            entry.grants().map_err(&broken)?;
        }
        Ok(installed)
    }

    /// Returns what somebody agreed to for a file; none when it was put there by hand.
    pub(crate) fn pin_of(&self, file: &Path) -> Option<Consent> {
        if file.parent() != Some(&self.directory) {
            return None;
        }
        self.plugins.get(file.file_name()?.to_str()?).and_then(|entry| entry.pin().ok())
    }

    /// Returns what would be agreed to by installing a plugin.
    pub(crate) fn pin_for(info: &PluginInfo, replaces: bool) -> Result<Consent, InstallError> {
        InstalledPlugin::of(info, replaces).pin().map_err(InstallError::InvalidNeed)
    }

    /// Tells whether a plugin may have the file of what is installed under its name: it is a version of that. One with another keyword is
    /// another plugin.
    pub(crate) fn may_overwrite(&self, info: &PluginInfo) -> bool {
        let entry = self.plugins.get(&Self::file_name(info));
        entry.is_none_or(|entry| entry.keyword.as_ref().is_none_or(|keyword| *keyword == info.description.keyword))
    }

    /// Returns the name of the file of a plugin.
    pub(crate) fn file_name(info: &PluginInfo) -> String {
        format!("{}-{}.wasm", info.kind.name(), info.description.name)
    }

    /// What the operator has to agree to: targets and interfaces beyond what every plugin of its kind has.
    fn requested_grants(info: &PluginInfo) -> (Vec<String>, Vec<String>) {
        let usual = ["endpoint", "node-address"];
        let description = &info.description;
        let network = description.needs_network.iter().filter(|need| !usual.contains(&need.as_str()));
        (network.cloned().collect(), description.needs_interfaces.clone())
    }

    /// Copies a plugin in, and grants what it asks for. What was installed with its kind and keyword goes. The answer is where it
    /// is.
    pub fn install(&mut self, info: &PluginInfo, bytes: &[u8], replaces: bool) -> Result<PathBuf, InstallError> {
        let description = &info.description;
        // What was asked for, and agreed to, were the bytes that this was read from.
        if sha256(bytes) != info.digest {
            return Err(InstallError::FileChanged(description.name.clone()));
        }
        let entry = InstalledPlugin::of(info, replaces);
        entry.pin().map_err(InstallError::InvalidNeed)?;
        let file = Self::file_name(info);
        let path = self.directory.join(&file);
        let is_replaced = |other: &InstalledPlugin| {
            other.kind == Some(info.kind) && other.keyword.as_ref() == Some(&description.keyword)
        };
        let replaced = self.plugins.iter().filter(|(name, other)| **name != file && is_replaced(other));
        for name in replaced.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.remove_file(&name)?;
        }
        // In this order: a file that the list does not know yet has no grants.
        self.plugins.remove(&file);
        self.write()?;
        write_atomically(&path, bytes)?;
        self.plugins.insert(file, entry);
        self.write()?;
        Ok(path)
    }

    /// Removes what has this name. The answer is what was removed.
    pub fn remove(&mut self, name: &str) -> Result<Vec<PathBuf>, InstallError> {
        let files: Vec<String> =
            self.plugins.iter().filter(|(_, entry)| entry.name == name).map(|(file, _)| file.clone()).collect();
        let mut removed = Vec::new();
        for file in files {
            removed.push(self.remove_file(&file)?);
        }
        Ok(removed)
    }

    fn remove_file(&mut self, file: &str) -> Result<PathBuf, InstallError> {
        let path = self.directory.join(file);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(InstallError::Io { path, source }),
            _ => {}
        }
        self.plugins.remove(file);
        self.write()?;
        Ok(path)
    }

    fn write(&self) -> Result<(), InstallError> {
        let path = self.directory.join(LOCK_FILE_NAME);
        let text = serde_yaml_ng::to_string(self)
            .map_err(|error| InstallError::InvalidLockFile { path: path.clone(), message: error.to_string() })?;
        let head = "# Written by `occopus plugin install` and `occopus plugin remove`.\n";
        write_atomically(&path, format!("{head}{text}").as_bytes())
    }
}

impl InstalledPlugin {
    fn of(info: &PluginInfo, replaces: bool) -> Self {
        let (network, interfaces) = InstalledPlugins::requested_grants(info);
        Self {
            name: info.description.name.clone(),
            version: info.description.version.clone(),
            sha256: info.digest.clone(),
            kind: Some(info.kind),
            keyword: Some(info.description.keyword.clone()),
            replaces,
            network,
            interfaces,
        }
    }

    fn pin(&self) -> Result<Consent, String> {
        Ok(Consent { sha256: self.sha256.clone(), grants: self.grants()?, replaces: self.replaces })
    }

    fn grants(&self) -> Result<PluginGrants, String> {
        let asked = json!({"network": self.network, "interfaces": self.interfaces});
        serde_json::from_value(asked).map_err(|error| error.to_string())
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file as a whole, or not at all.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), InstallError> {
    let failed = |source| InstallError::Io { path: path.to_owned(), source };
    files::create_private_dir(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::File::create(&new).and_then(|mut file| {
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path)).map_err(|error| {
        let _ = fs::remove_file(&new);
        failed(error)
    })
}
