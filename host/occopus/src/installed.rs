//! Installed plugins: copies of files, pinned by their digests, with what the operator granted to them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use occopus_model::files;
use occopus_runtime::grants::PluginGrants;
use occopus_runtime::{Consent, PluginInfo, PluginKind};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// File name of the list of installed plugins, beside the plugins.
const LOCK_FILE_NAME: &str = "plugins.lock.yaml";

/// Installed plugins by the name of their file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstalledPlugins {
    plugins: BTreeMap<String, InstalledPlugin>,
    #[serde(skip)]
    directory: PathBuf,
}

/// An installed plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InstalledPlugin {
    name: String,
    version: String,
    sha256: String,
    /// The kind; absent in lists of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<PluginKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyword: Option<String>,
    /// Consent that it replaces another plugin of its kind and keyword.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    replaces: bool,
    /// Granted network targets, as the configuration writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    network: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<String>,
}

/// An error of installing or removing a plugin.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// An I/O error of the directory of plugins, or of a file in it.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The list of installed plugins cannot be read.
    #[error("the list of installed plugins {path} is broken: {message}")]
    InvalidLockFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        message: String,
    },
    /// The file has changed since it was examined.
    #[error("the file of the plugin `{0}` has changed since it was examined; check it again")]
    FileChanged(String),
    /// The plugin requests something that does not exist.
    #[error("cannot grant what the plugin requests: {0}")]
    InvalidNeed(String),
}

impl InstalledPlugins {
    /// Reads the list in a directory. Without a list, nothing is installed.
    ///
    /// # Errors
    /// Returns [`InstallError::Io`] or [`InstallError::InvalidLockFile`] if the list cannot be read.
    pub fn read(directory: &Path) -> Result<Self, InstallError> {
        let path = directory.join(LOCK_FILE_NAME);
        let invalid = |message: String| InstallError::InvalidLockFile { path: path.clone(), message };
        let mut installed = match fs::read_to_string(&path) {
            Ok(text) => serde_yaml_ng::from_str::<Option<Self>>(&text)
                .map_err(|error| invalid(error.to_string()))?
                .unwrap_or_default(),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Self::default()
            }
            Err(source) => return Err(InstallError::Io { path, source }),
        };
        directory.clone_into(&mut installed.directory);
        for entry in installed.plugins.values() {
            entry.grants().map_err(&invalid)?;
        }
        Ok(installed)
    }

    /// Returns the consent for a file; none if the file was put there by hand.
    pub(crate) fn pin_of(&self, file: &Path) -> Option<Consent> {
        if file.parent() != Some(&self.directory) {
            return None;
        }
        self.plugins.get(file.file_name()?.to_str()?).and_then(|entry| entry.pin().ok())
    }

    /// Returns the consent that installing a plugin would record.
    pub(crate) fn pin_for(info: &PluginInfo, replaces: bool) -> Result<Consent, InstallError> {
        InstalledPlugin::of(info, replaces).pin().map_err(InstallError::InvalidNeed)
    }

    /// Returns whether a plugin may overwrite the installed file of its name: true if that is a version of the same
    /// plugin. A plugin with another keyword is another plugin.
    pub(crate) fn may_overwrite(&self, info: &PluginInfo) -> bool {
        let entry = self.plugins.get(&Self::file_name(info));
        entry.is_none_or(|entry| entry.keyword.as_ref().is_none_or(|keyword| *keyword == info.description.keyword))
    }

    /// Returns the name of the file of a plugin.
    pub(crate) fn file_name(info: &PluginInfo) -> String {
        format!("{}-{}.wasm", info.kind.name(), info.description.name)
    }

    /// Returns what the operator has to consent to: network targets and interfaces beyond those that every plugin has.
    fn requested_grants(info: &PluginInfo) -> (Vec<String>, Vec<String>) {
        let implied = ["endpoint", "node-address"];
        let description = &info.description;
        let network = description.needs_network.iter().filter(|need| !implied.contains(&need.as_str()));
        (network.cloned().collect(), description.needs_interfaces.clone())
    }

    /// Copies a plugin into the directory, and grants what it requests. Removes installed plugins of the same kind and
    /// keyword. Returns the path of the copy.
    ///
    /// # Errors
    /// Returns [`InstallError::FileChanged`] if `bytes` are not those that `info` was read from,
    /// [`InstallError::InvalidNeed`] if what the plugin requests cannot be granted, and another [`InstallError`] if a
    /// file cannot be written or removed.
    pub fn install(&mut self, info: &PluginInfo, bytes: &[u8], replaces: bool) -> Result<PathBuf, InstallError> {
        let description = &info.description;
        // Consent was given for the bytes from which `info` was read.
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
        // In this order: a file that is not in the list has no grants.
        self.plugins.remove(&file);
        self.write()?;
        write_atomically(&path, bytes)?;
        self.plugins.insert(file, entry);
        self.write()?;
        Ok(path)
    }

    /// Removes the plugins of this name. Returns the removed files.
    ///
    /// # Errors
    /// Fails if a file cannot be removed, or the list cannot be written.
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
        let requested = json!({"network": self.network, "interfaces": self.interfaces});
        serde_json::from_value(requested).map_err(|error| error.to_string())
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file as a whole, or not at all: to a new file, which is then renamed.
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
