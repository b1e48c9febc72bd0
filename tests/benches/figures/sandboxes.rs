//! A runtime with the bundled plugins and those of the fixtures.

use std::path::Path;
use std::sync::Arc;

use occopus_engine::ports::Fault;
use occopus_model::{Credential, SectionKind};
use occopus_plugins::Bundled;
use occopus_runtime::grants::Grants;
use occopus_runtime::{CallLimits, CredentialSource, Origin, PluginSource, Runtime, RuntimeConfig};
use serde_json::Value;

struct NoCredentials;

impl CredentialSource for NoCredentials {
    fn credential(&self, _: SectionKind, _: &Value) -> Result<Option<Credential>, Fault> {
        Ok(None)
    }
}

/// Creates a runtime with its state in this directory.
pub(crate) fn runtime(directory: &Path) -> Arc<Runtime> {
    let fixtures = ["0.1.0/driver.wasm", "simulated.wasm"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins").join(name);
        let bytes = std::fs::read(&path).expect("the fixture").into();
        PluginSource { name: name.to_owned(), bytes, origin: Origin::File(path), consent: None }
    });
    of(directory, occopus_plugins::PLUGINS.iter().map(bundled).chain(fixtures).collect())
}

/// Creates a runtime with these plugins only.
pub(crate) fn of(directory: &Path, plugins: Vec<PluginSource>) -> Arc<Runtime> {
    let config = RuntimeConfig {
        cache_dir: directory.join("cache"),
        state_dir: directory.join("state"),
        grants: Grants::default(),
        limits: CallLimits::default(),
        allow_commands: false,
    };
    Runtime::new(config, plugins, Arc::new(NoCredentials)).expect("a runtime")
}

pub(crate) fn bundled(plugin: &Bundled) -> PluginSource {
    let (name, bytes) = (plugin.name.to_owned(), plugin.bytes.into());
    PluginSource { name, bytes, origin: Origin::Bundled, consent: None }
}
