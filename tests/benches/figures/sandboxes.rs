//! A runtime with the bundled plugins and those of the fixtures.

use std::path::Path;
use std::sync::Arc;

use occopus_engine::ports::Fault;
use occopus_model::{Credential, Section};
use occopus_runtime::grants::Grants;
use occopus_runtime::{CredentialSource, Limits, Origin, PluginSource, Runtime, RuntimeConfig};
use serde_json::Value;

struct NoCredentials;

impl CredentialSource for NoCredentials {
    fn credential(&self, _: Section, _: &Value) -> Result<Option<Credential>, Fault> {
        Ok(None)
    }
}

/// With its state in this directory.
pub(crate) fn runtime(directory: &Path) -> Arc<Runtime> {
    let config = RuntimeConfig {
        cache_dir: directory.join("cache"),
        state_dir: directory.join("state"),
        grants: Grants::default(),
        limits: Limits::default(),
        allow_commands: false,
    };
    let bundled = occopus_plugins::PLUGINS.iter().map(|plugin| PluginSource {
        name: plugin.name.to_owned(),
        bytes: plugin.bytes.into(),
        origin: Origin::Bundled,
        pinned: None,
    });
    let fixtures = ["0.1.0/driver.wasm", "simulated.wasm"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins").join(name);
        let bytes = std::fs::read(&path).expect("the fixture").into();
        PluginSource { name: name.to_owned(), bytes, origin: Origin::File(path), pinned: None }
    });
    Runtime::new(config, bundled.chain(fixtures).collect(), Arc::new(NoCredentials)).expect("a runtime")
}
