//! Descriptions that plugins give of themselves: queried once, and cached on disk.

use std::sync::Arc;
use std::time::Duration;

use occopus_engine::ports::CallContext;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::bindings::{config, context, driver, health};
use crate::description_check;
use crate::error::RuntimeError;
use crate::grants::{CallGrants, GrantSubject};
use crate::host::CallInput;
use crate::invoke::{SideEffects, invoke};
use crate::kind::PluginKind;
use crate::plugin::{Description, Plugin};
use crate::runtime::{CallCredentials, ResolvedCredentials, RuntimeCore};

impl RuntimeCore {
    /// Returns a plugin's description, cached by an earlier run or queried now. Blocks.
    pub(crate) fn describe<'a>(&self, plugin: &'a Plugin) -> Result<&'a Description, RuntimeError> {
        if let Some(description) = plugin.description.get() {
            return Ok(description);
        }
        let description = match plugin.cached_description(&self.cache_dir) {
            Some(cached) => cached,
            None => {
                let queried = self.query_description(plugin)?;
                plugin.cache_description(&self.cache_dir, &queried);
                queried
            }
        };
        if let Some(message) = description_check::first_violation(&description) {
            return Err(RuntimeError::Describe { origin: plugin.label().to_owned(), message });
        }
        Ok(plugin.description.get_or_init(|| description))
    }

    /// Calls `describe` on a thread of its own: the caller is synchronous, and may be inside an async runtime.
    fn query_description(&self, plugin: &Plugin) -> Result<Description, RuntimeError> {
        let instance = plugin.instance_pre(&self.wasm()?.engine)?;
        let failed = |message: String| RuntimeError::Describe { origin: plugin.label().to_owned(), message };
        let grants = CallGrants::offline(&GrantSubject { plugin: plugin.label(), ..GrantSubject::default() });
        let call = self.new_call(
            plugin.label(),
            grants,
            CallCredentials::of(plugin, ResolvedCredentials::default()),
            CallInput::Describe,
            describe_context(),
        );
        let work = async {
            invoke(instance, &self.call_permits, Arc::new(call), SideEffects::None, async |store| {
                macro_rules! describe {
                    ($world:ident) => {{
                        let indices = $world::exports::occopus::types::plugin::GuestIndices::new(instance)?;
                        let plugin = instance.instantiate_async(&mut *store).await?;
                        let described = indices.load(&mut *store, &plugin)?.call_describe(&mut *store).await?;
                        Ok((
                            [described.name, described.version, described.keyword, described.summary],
                            described.section_schema,
                            described.credentials_schema,
                            described.needs.network,
                            described.needs.interfaces,
                        ))
                    }};
                }
                match plugin.kind {
                    PluginKind::Driver => describe!(driver),
                    PluginKind::HealthChecker => describe!(health),
                    PluginKind::Contextualiser => describe!(context),
                    PluginKind::ConfigManager => describe!(config),
                }
            })
            .await
        };
        let answer = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
                    runtime.block_on(work).map_err(|fault| failed(fault.message))
                })
                .join()
                .unwrap_or_else(|_| Err(failed("internal error: the call of `describe` panicked".to_owned())))
        })?;
        let (words, section, credentials, network, interfaces) = answer;
        description(words, &section, &credentials, network, interfaces).map_err(failed)
    }
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
