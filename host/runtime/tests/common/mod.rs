//! Runtime with the compiled plugins of `tests/fixtures`, and capture of its log.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use occopus_engine::ports::{CallContext, CallScope, CreateRequest, Fault, Plugins as _};
use occopus_model::{Credential, Secret, SectionKind, Tls};
use occopus_runtime::grants::Grants;
use occopus_runtime::{CallLimits, CredentialSource, Origin, PluginSource, Runtime, RuntimeConfig};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

/// Value of the only secret.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// Credential source with one credential for every section.
struct FixedCredential;

impl CredentialSource for FixedCredential {
    fn credential(&self, _: SectionKind, _: &Value) -> Result<Option<Credential>, Fault> {
        let fields = BTreeMap::from([("password".to_owned(), Secret::new(PASSWORD.to_owned()))]);
        Ok(Some(Credential { fields, tls: Tls::default(), rule: "auth_data.yaml:1".to_owned() }))
    }
}

/// Reads a compiled plugin of `tests/fixtures/plugins`.
pub(crate) fn fixture(name: &str) -> PluginSource {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/plugins").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    from_bytes(name, bytes)
}

/// Returns the driver `impostor` of `tests/fixtures` with another description: each field's name with its text.
pub(crate) fn impostor(origin: &str, fields: &[(&str, &str)]) -> PluginSource {
    let mut bytes = fixture("impostor.wasm").bytes.into_owned();
    for (field, text) in fields {
        let marker = format!("@@{field}@@");
        let at = bytes.windows(marker.len()).position(|window| window == marker.as_bytes()).expect("the marker");
        let room = &mut bytes[at + marker.len()..at + 256];
        room.fill(0);
        room[..text.len()].copy_from_slice(text.as_bytes());
    }
    from_bytes(origin, bytes)
}

/// Returns a plugin of the operator's.
pub(crate) fn from_bytes(name: &str, bytes: Vec<u8>) -> PluginSource {
    PluginSource {
        name: name.to_owned(),
        bytes: bytes.into(),
        origin: Origin::File(PathBuf::from(name)),
        consent: None,
    }
}

/// Creates a runtime with these plugins and grants; compiled plugins are shared by all tests.
pub(crate) fn runtime(plugins: Vec<PluginSource>, grants: Grants, limits: CallLimits) -> Arc<Runtime> {
    runtime_with(plugins, grants, limits, Arc::new(FixedCredential), false)
}

/// Creates a runtime with other credentials, and with commands in templates or not.
pub(crate) fn runtime_with(
    plugins: Vec<PluginSource>,
    grants: Grants,
    limits: CallLimits,
    credentials: Arc<dyn CredentialSource>,
    allow_commands: bool,
) -> Arc<Runtime> {
    runtime_in(Path::new(env!("CARGO_TARGET_TMPDIR")), plugins, grants, limits, credentials, allow_commands)
}

/// Creates a runtime whose only plugin is a compiled plugin of `tests/fixtures/plugins`, with its cache in this directory.
pub(crate) fn runtime_with_cache(directory: &Path, plugin: &str) -> Arc<Runtime> {
    let (grants, limits) = (Grants::default(), CallLimits::default());
    runtime_in(directory, vec![fixture(plugin)], grants, limits, Arc::new(FixedCredential), false)
}

fn runtime_in(
    directory: &Path,
    plugins: Vec<PluginSource>,
    grants: Grants,
    limits: CallLimits,
    credentials: Arc<dyn CredentialSource>,
    allow_commands: bool,
) -> Arc<Runtime> {
    let config = RuntimeConfig {
        cache_dir: directory.join("cache"),
        state_dir: directory.join("state"),
        grants,
        limits,
        allow_commands,
    };
    Runtime::new(config, plugins, credentials).expect("a runtime")
}

/// Returns the context of a call.
pub(crate) fn context(timeout: Duration) -> CallContext {
    CallContext {
        infrastructure_id: "i".to_owned(),
        node: "the-node".to_owned(),
        timeout,
        cancel: CancellationToken::new(),
        progress: None,
        preview: false,
    }
}

/// Returns a request to create an instance with this section.
pub(crate) fn request(section: Value, timeout: Duration) -> CreateRequest {
    CreateRequest {
        repeated: false,
        scope: CallScope { context: context(timeout), section: Arc::new(section) },
        instance_id: "0b0e6b3c-0000-4000-8000-000000000001".to_owned(),
        node_name: "the-node".to_owned(),
        infrastructure_id: "i".to_owned(),
        infrastructure_name: "infra".to_owned(),
        machine_name: "occopus-infra-the-node".to_owned(),
        user_data: None,
        attributes: serde_json::json!({}),
    }
}

/// Calls `create` of the driver with this keyword.
pub(crate) async fn create(
    runtime: &Runtime,
    keyword: &str,
    request: &CreateRequest,
) -> Result<occopus_engine::ports::ObservedMachine, Fault> {
    runtime.driver(keyword).unwrap_or_else(|| panic!("no driver: {:?}", runtime.load_errors())).create(request).await
}

/// Log of this thread, at every level.
#[derive(Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let logged = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(logged.clone())
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .finish();
        (logged, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for CapturedLog {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
