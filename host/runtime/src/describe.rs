//! Descriptions that plugins give of themselves: queried once, and cached on disk.

use std::sync::Arc;
use std::time::Duration;

use occopus_engine::ports::CallContext;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::bindings::{config, context, driver, health};
use crate::calls::{CallCredentials, RuntimeCore};
use crate::description_check;
use crate::error::RuntimeError;
use crate::grants::{CallGrants, GrantSubject};
use crate::host::CallInput;
use crate::invoke::{SideEffects, invoke};
use crate::kind::PluginKind;
use crate::plugin::{Description, PluginBinary};

impl RuntimeCore {
    /// Returns a plugin's description, cached by an earlier run or queried now. Blocks.
    pub(crate) fn describe(&self, binary: &Arc<PluginBinary>) -> Result<Description, RuntimeError> {
        let description = match binary.cached_description(&self.cache_dir) {
            Some(cached) => cached,
            None => {
                let queried = self.query_description(binary)?;
                binary.cache_description(&self.cache_dir, &queried);
                queried
            }
        };
        match description_check::first_violation(&description) {
            Some(message) => Err(RuntimeError::Describe { origin: binary.label().to_owned(), message }),
            None => Ok(description),
        }
    }

    /// Calls `describe` on a thread of its own: the caller is synchronous, and may be inside an async runtime.
    fn query_description(&self, binary: &Arc<PluginBinary>) -> Result<Description, RuntimeError> {
        let failed = |message: String| RuntimeError::Describe { origin: binary.label().to_owned(), message };
        let answer = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.map_err(|error| failed(error.to_string()))?.block_on(self.call_describe(binary))
                })
                .join()
                .unwrap_or_else(|_| Err(failed("internal error: the call of `describe` panicked".to_owned())))
        })?;
        let Answer { words, section_schema, credentials_schema, network, interfaces } = answer;
        description(words, &section_schema, &credentials_schema, network, interfaces).map_err(failed)
    }

    async fn call_describe(&self, binary: &Arc<PluginBinary>) -> Result<Answer, RuntimeError> {
        let instance = binary.compiled(&self.wasm).await?;
        let grants = CallGrants::offline(&GrantSubject { plugin: binary.label(), ..GrantSubject::default() });
        let credentials = CallCredentials::offline(&binary.digest);
        let call = self.new_call(binary.label(), grants, credentials, CallInput::Describe, describe_context());
        let answer = invoke(instance, &self.call_permits, Arc::new(call), SideEffects::None, async |store| {
            macro_rules! describe {
                ($world:ident) => {{
                    let indices = $world::exports::occopus::types::plugin::GuestIndices::new(instance)?;
                    let plugin = instance.instantiate_async(&mut *store).await?;
                    let described = indices.load(&mut *store, &plugin)?.call_describe(&mut *store).await?;
                    Ok(Answer {
                        words: [described.name, described.version, described.keyword, described.summary],
                        section_schema: described.section_schema,
                        credentials_schema: described.credentials_schema,
                        network: described.needs.network,
                        interfaces: described.needs.interfaces,
                    })
                }};
            }
            match binary.kind {
                PluginKind::Driver => describe!(driver),
                PluginKind::HealthChecker => describe!(health),
                PluginKind::Contextualiser => describe!(context),
                PluginKind::ConfigManager => describe!(config),
            }
        });
        let failed = |message| RuntimeError::Describe { origin: binary.label().to_owned(), message };
        answer.await.map_err(|fault| failed(fault.message))
    }
}

/// An answer of `describe`, as each kind of plugin gives it.
struct Answer {
    /// Name, version, keyword and summary.
    words: [String; 4],
    section_schema: String,
    credentials_schema: String,
    network: Vec<String>,
    interfaces: Vec<String>,
}

/// Builds the description of a plugin from its name, version, keyword and summary, its schemas and its needs.
///
/// # Errors
/// Fails if a schema is not valid, with a message for users.
pub(crate) fn description(
    [name, version, keyword, summary]: [String; 4],
    section: &str,
    credentials: &str,
    needs_network: Vec<String>,
    needs_interfaces: Vec<String>,
) -> Result<Description, String> {
    let schema = |part: &str, text: &str| -> Result<Arc<Value>, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("its schema of {part} is not JSON: {error}"))?;
        jsonschema::meta::validate(&value).map_err(|error| format!("its schema of {part} is invalid: {error}"))?;
        Ok(Arc::new(value))
    };
    let section_schema = schema("the section", section)?;
    let credentials_schema = (!credentials.is_empty()).then(|| schema("the credentials", credentials)).transpose()?;
    Ok(Description {
        section_schema,
        credentials_schema,
        name,
        version,
        keyword,
        summary,
        needs_network,
        needs_interfaces,
    })
}

fn describe_context() -> CallContext {
    CallContext {
        infrastructure_id: String::new(),
        node: String::new(),
        timeout: Duration::from_secs(30),
        cancel: CancellationToken::new(),
        progress: None,
        preview: false,
    }
}
