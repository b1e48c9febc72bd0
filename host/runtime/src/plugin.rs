//! One plugin: its bytes, what it says of itself, and its compiled form once it is needed.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use occopus_model::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::admission::{OperatorGrants, Trust};
use crate::error::RuntimeError;
use crate::grants::{GrantSubject, PluginGrants};
use crate::host::{HOST_INTERFACES, HostState, add_to_linker};
use crate::kind::{self, Kind};

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It came with this program.
    Bundled,
    /// A file of the operator's.
    File(std::path::PathBuf),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bundled => f.write_str("bundled"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A plugin that has not been looked at.
#[derive(Debug, Clone)]
pub struct PluginSource {
    /// For messages about bundled ones.
    pub name: String,
    /// The component.
    pub bytes: Cow<'static, [u8]>,
    /// Where it comes from.
    pub origin: Origin,
    /// Consent by which the operator installed it; none when it was not installed.
    pub consent: Option<Consent>,
}

/// Consent to a plugin that was installed. It holds for these bytes and no others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consent {
    /// SHA-256 in hexadecimal. Anything else is refused.
    pub sha256: String,
    /// Grants that were agreed to.
    pub grants: PluginGrants,
    /// True when it may replace another plugin of its kind and keyword.
    pub replaces: bool,
}

/// What a plugin says of itself (`describe`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// For people.
    pub name: String,
    /// Of the plugin.
    pub version: String,
    /// What the user writes to choose it.
    pub keyword: String,
    /// One line.
    pub summary: String,
    /// JSON Schema of its section.
    pub section_schema: Arc<Value>,
    /// JSON Schema of its credentials.
    pub credentials_schema: Option<Arc<Value>>,
    /// Network targets that it asks for.
    pub needs_network: Vec<String>,
    /// Host interfaces that it asks for.
    pub needs_interfaces: Vec<String>,
}

pub(crate) struct Plugin {
    pub(crate) kind: Kind,
    pub(crate) contract: String,
    pub(crate) origin: Origin,
    /// SHA-256 of the bytes, in hexadecimal.
    pub(crate) digest: String,
    pub(crate) description: OnceLock<Description>,
    /// Consent of the operator at installation.
    pub(crate) consent: Option<Consent>,
    /// Grants of the operator, known once all plugins are.
    pub(crate) granted: OnceLock<OperatorGrants>,
    label: String,
    bytes: Cow<'static, [u8]>,
    compiled: OnceLock<InstancePre<HostState>>,
}

impl Plugin {
    pub(crate) fn new(source: PluginSource) -> Result<Self, RuntimeError> {
        let label = match &source.origin {
            Origin::Bundled => format!("the bundled plugin {}", source.name),
            Origin::File(path) => path.display().to_string(),
        };
        let digest: String = Sha256::digest(&source.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        // Before anything of it is read.
        if let Some(pin) = source.consent.as_ref().filter(|pin| pin.sha256 != digest) {
            return Err(RuntimeError::DigestMismatch { origin: label, pinned: pin.sha256.clone(), found: digest });
        }
        let (kind, contract) = kind::detect(&source.bytes, &label)?;
        Ok(Self {
            kind,
            contract,
            origin: source.origin,
            digest,
            description: OnceLock::new(),
            consent: source.consent,
            granted: OnceLock::new(),
            label,
            bytes: source.bytes,
            compiled: OnceLock::new(),
        })
    }

    /// For messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Bytes of the component.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Interfaces of ours that it imports.
    pub(crate) fn imports(&self) -> Vec<String> {
        kind::imports(&self.bytes)
    }

    pub(crate) fn is_bundled(&self) -> bool {
        self.origin == Origin::Bundled
    }

    /// Returns kind, keyword and digest: what the host keeps for one plugin is for no other.
    pub(crate) fn identity(&self) -> String {
        let keyword = self.description.get().map_or("", |description| description.keyword.as_str());
        format!("{} {keyword} {}", self.kind.name(), self.digest)
    }

    /// Returns what its grants are computed from, beside the call at hand.
    pub(crate) fn grant_subject<'a>(&'a self, description: &'a Description) -> GrantSubject<'a> {
        GrantSubject {
            plugin: &description.name,
            bundled: self.is_bundled(),
            needs_network: &description.needs_network,
            needs_interfaces: &description.needs_interfaces,
            config_key: self.granted.get().map(|granted| granted.entry.as_str()),
            operator: self.granted.get().map(|granted| &granted.grants),
            ..GrantSubject::default()
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        match (&self.origin, &self.consent) {
            (Origin::Bundled, _) => Trust::Bundled,
            (Origin::File(_), Some(_)) => Trust::Installed,
            (Origin::File(_), None) => Trust::NotInstalled,
        }
    }

    pub(crate) fn is_compiled(&self) -> bool {
        self.compiled.get().is_some()
    }

    /// Compiled and linked; from the cache on disk when it was compiled before. Blocks.
    pub(crate) fn instance_pre(&self, engine: &Engine) -> Result<&InstancePre<HostState>, RuntimeError> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        let component = Component::new(engine, &self.bytes)
            .map_err(|error| RuntimeError::Compile { origin: self.label.clone(), message: format!("{error:#}") })?;
        let mut linker = Linker::new(engine);
        add_to_linker(&mut linker).map_err(|error| RuntimeError::Engine { message: format!("{error:#}") })?;
        let linked = linker.instantiate_pre(&component).map_err(|error| RuntimeError::Link {
            origin: self.label.clone(),
            message: link_error_message(engine, &component, &error),
        })?;
        Ok(self.compiled.get_or_init(|| linked))
    }

    /// The description that an earlier run kept.
    pub(crate) fn cached_description(&self, cache: &Path) -> Option<Description> {
        serde_json::from_slice(&std::fs::read(self.description_file(cache)).ok()?).ok()
    }

    /// Keeps the description for later runs. It can be had again, so failing to keep it is no error.
    pub(crate) fn cache_description(&self, cache: &Path, description: &Description) {
        let file = self.description_file(cache);
        let Ok(bytes) = serde_json::to_vec(description) else { return };
        let Some(directory) = file.parent() else { return };
        let new = directory.join(format!("{}.{}.new", self.digest, std::process::id()));
        let kept = files::create_private_dir(directory)
            .and_then(|()| std::fs::write(&new, bytes))
            .and_then(|()| std::fs::rename(&new, &file));
        if let Err(error) = kept {
            tracing::debug!("the description of {} is not kept: {error}", self.label);
        }
    }

    fn description_file(&self, cache: &Path) -> std::path::PathBuf {
        cache.join("described").join(format!("{}.json", self.digest))
    }
}

/// A link error in words: which interface, what there is, what to do.
fn link_error_message(engine: &Engine, component: &Component, error: &wasmtime::Error) -> String {
    let ty = component.component_type();
    let unknown: Vec<_> = ty
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            name.starts_with("occopus:") && !HOST_INTERFACES.contains(&name.as_str()) || !is_known_package(name)
        })
        .collect();
    if unknown.is_empty() {
        return format!("{error:#}. It was probably built for another version of the contract; this host has 0.1.0");
    }
    format!(
        "it imports {}, which this host does not have. The host has {}, and WASI 0.2 (cli, clocks, filesystem, http, io, \
         random, sockets). Build the plugin against these, or use a newer version of Occopus",
        unknown.join(", "),
        HOST_INTERFACES.join(", ")
    )
}

fn is_known_package(name: &str) -> bool {
    let wasi = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];
    name.starts_with("occopus:") || wasi.iter().any(|package| name.starts_with(&format!("wasi:{package}/")))
}
