//! A plugin: its bytes, its description, and its compiled form once it is needed.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use occopus_model::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::admission::{OperatorGrants, Trust};
use crate::error::RuntimeError;
use crate::grants::{GrantSubject, PluginGrants};
use crate::host::{HOST_INTERFACES, HostState, add_to_linker};
use crate::kind::{self, PluginKind};
use crate::wasm::LazyEngine;

/// Origin of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Part of this program.
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

/// A plugin that has not been read.
#[derive(Debug, Clone)]
pub struct PluginSource {
    /// Name for messages about bundled plugins.
    pub name: String,
    /// The component.
    pub bytes: Cow<'static, [u8]>,
    /// Origin of the component.
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
    /// Consent to replace another plugin of its kind and keyword.
    pub replaces: bool,
}

/// A plugin's description of itself (`describe`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// Name for messages, and for grants in the configuration.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Keyword by which users choose it.
    pub keyword: String,
    /// Summary in one line.
    pub summary: String,
    /// JSON Schema of its section.
    pub section_schema: Arc<Value>,
    /// JSON Schema of its credentials.
    pub credentials_schema: Option<Arc<Value>>,
    /// Network targets that it needs.
    pub needs_network: Vec<String>,
    /// Host interfaces that it needs.
    pub needs_interfaces: Vec<String>,
}

/// A plugin as it was read: its bytes, and its compiled form once it is needed.
pub(crate) struct PluginBinary {
    pub(crate) kind: PluginKind,
    pub(crate) contract: String,
    pub(crate) origin: Origin,
    /// SHA-256 of the bytes, in hexadecimal.
    pub(crate) digest: String,
    /// Consent of the operator at installation.
    pub(crate) consent: Option<Consent>,
    label: String,
    bytes: Cow<'static, [u8]>,
    compiled: OnceLock<InstancePre<HostState>>,
    /// Lock of the thread that compiles it.
    compiling: Arc<Mutex<()>>,
}

/// A plugin that has described itself.
pub(crate) struct Plugin {
    pub(crate) binary: Arc<PluginBinary>,
    pub(crate) description: Description,
    /// Grants of the operator; none if the plugin is not admitted.
    pub(crate) granted: Option<OperatorGrants>,
}

impl Plugin {
    /// Returns kind, keyword and digest, under which the host keeps what is for this plugin alone.
    pub(crate) fn identity(&self) -> String {
        format!("{} {} {}", self.binary.kind.name(), self.description.keyword, self.binary.digest)
    }

    /// Returns the facts from which its grants are computed, without those of the call at hand.
    pub(crate) fn grant_subject(&self) -> GrantSubject<'_> {
        GrantSubject {
            plugin: &self.description.name,
            bundled: self.binary.is_bundled(),
            needs_network: &self.description.needs_network,
            needs_interfaces: &self.description.needs_interfaces,
            config_key: self.granted.as_ref().map(|granted| granted.config_key.as_str()),
            operator: self.granted.as_ref().map(|granted| &granted.grants),
            ..GrantSubject::default()
        }
    }
}

impl PluginBinary {
    pub(crate) fn new(source: PluginSource) -> Result<Self, RuntimeError> {
        let label = match &source.origin {
            Origin::Bundled => format!("the bundled plugin {}", source.name),
            Origin::File(path) => path.display().to_string(),
        };
        let digest: String = Sha256::digest(&source.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        // Checked before anything of it is read.
        if let Some(consent) = source.consent.as_ref().filter(|consent| consent.sha256 != digest) {
            return Err(RuntimeError::DigestMismatch { origin: label, pinned: consent.sha256.clone(), found: digest });
        }
        let (kind, contract) = kind::detect(&source.bytes, &label)?;
        Ok(Self {
            kind,
            contract,
            origin: source.origin,
            digest,
            consent: source.consent,
            label,
            bytes: source.bytes,
            compiled: OnceLock::new(),
            compiling: Arc::default(),
        })
    }

    /// Returns its name for messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Returns the size of the component in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the interfaces that it imports.
    pub(crate) fn imports(&self) -> Vec<String> {
        kind::imports(&self.bytes)
    }

    pub(crate) fn is_bundled(&self) -> bool {
        self.origin == Origin::Bundled
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

    /// Returns the plugin compiled and linked. The first caller has it compiled, on a thread for blocking work, and further
    /// ones wait for that; from then on no lock is taken. The thread keeps the result even if all callers have left.
    pub(crate) async fn compiled(
        self: &Arc<Self>,
        wasm: &Arc<LazyEngine>,
    ) -> Result<&InstancePre<HostState>, RuntimeError> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        let compiling = Arc::clone(&self.compiling).lock_owned().await;
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        let (binary, wasm) = (Arc::clone(self), Arc::clone(wasm));
        let compile = move || {
            let compiled = binary.compile(wasm.engine()?)?;
            binary.compiled.get_or_init(|| compiled);
            drop(compiling);
            Ok(())
        };
        let failed = |message: String| RuntimeError::Compile { origin: self.label.clone(), message };
        tokio::task::spawn_blocking(compile)
            .await
            .unwrap_or_else(|error| Err(failed(format!("internal error: {error}"))))?;
        self.compiled.get().ok_or_else(|| failed("internal error: it was not kept".to_owned()))
    }

    /// Compiles and links the plugin, from the cache on disk if it was compiled before. Blocks.
    fn compile(&self, engine: &Engine) -> Result<InstancePre<HostState>, RuntimeError> {
        let component = Component::new(engine, &self.bytes)
            .map_err(|error| RuntimeError::Compile { origin: self.label.clone(), message: format!("{error:#}") })?;
        let mut linker = Linker::new(engine);
        add_to_linker(&mut linker).map_err(|error| RuntimeError::Engine { message: format!("{error:#}") })?;
        linker.instantiate_pre(&component).map_err(|error| RuntimeError::Link {
            origin: self.label.clone(),
            message: link_error_message(engine, &component, &error),
        })
    }

    /// Returns the description that an earlier run cached.
    pub(crate) fn cached_description(&self, cache: &Path) -> Option<Description> {
        serde_json::from_slice(&std::fs::read(self.description_file(cache)).ok()?).ok()
    }

    /// Caches the description for later runs. It can be queried again, so a failure is not an error.
    pub(crate) fn cache_description(&self, cache: &Path, description: &Description) {
        let file = self.description_file(cache);
        let Ok(bytes) = serde_json::to_vec(description) else { return };
        let Some(directory) = file.parent() else { return };
        let new = directory.join(format!("{}.{}.new", self.digest, std::process::id()));
        let written = files::create_private_dir(directory)
            .and_then(|()| std::fs::write(&new, bytes))
            .and_then(|()| std::fs::rename(&new, &file));
        if let Err(error) = written {
            tracing::debug!("the description of {} is not cached: {error}", self.label);
        }
    }

    fn description_file(&self, cache: &Path) -> std::path::PathBuf {
        cache.join("described").join(format!("{}.json", self.digest))
    }
}

/// Returns the message of a link error: missing interfaces, available ones, and a remedy.
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

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::limits::CallLimits;

    /// Returns the smallest component that counts as a plugin, and an engine for it.
    fn plugin(cache: &Path) -> (Arc<PluginBinary>, Arc<LazyEngine>) {
        let text = r#"(component (instance $i) (export "occopus:health/checker@0.1.0" (instance $i)))"#;
        let source = PluginSource {
            name: "small".into(),
            bytes: wat::parse_str(text).unwrap().into(),
            origin: Origin::Bundled,
            consent: None,
        };
        let wasm = LazyEngine::new(cache.into(), CallLimits::default());
        (Arc::new(PluginBinary::new(source).unwrap()), Arc::new(wasm))
    }

    #[tokio::test]
    async fn a_compilation_is_kept_although_its_caller_has_left() {
        let cache = tempfile::tempdir().unwrap();
        let (binary, wasm) = plugin(cache.path());
        let mut caller = Box::pin(binary.compiled(&wasm));
        assert!(futures::poll!(&mut caller).is_pending());
        drop(caller);
        // The thread holds the lock until it is done.
        drop(binary.compiling.lock().await);
        assert!(binary.is_compiled());
    }

    #[tokio::test]
    async fn a_cancelled_caller_does_not_wait_for_a_compilation() {
        let cache = tempfile::tempdir().unwrap();
        let (binary, wasm) = plugin(cache.path());
        let _compiling = binary.compiling.lock().await;
        let cancel = CancellationToken::new();
        let mut caller = Box::pin(cancel.run_until_cancelled(binary.compiled(&wasm)));
        assert!(futures::poll!(&mut caller).is_pending());
        cancel.cancel();
        assert!(caller.await.is_none() && !binary.is_compiled());
    }
}
