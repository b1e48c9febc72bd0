//! Descriptions that plugins give of themselves.

use std::sync::Arc;
use std::time::Duration;

use occopus_engine::ports::CallContext;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::bindings::{config, context, driver, health};
use crate::described;
use crate::error::RuntimeError;
use crate::grants::{CallGrants, Subject};
use crate::host::Input;
use crate::invoke::{Acts, invoke};
use crate::kind::Kind;
use crate::plugin::{Description, Plugin};
use crate::runtime::{Access, Memory, Shared};

impl Shared {
    /// Returns what a plugin says of itself: kept from an earlier run, or asked now. Blocks.
    pub(crate) fn describe<'a>(&self, plugin: &'a Plugin) -> Result<&'a Description, RuntimeError> {
        if let Some(description) = plugin.description.get() {
            return Ok(description);
        }
        let description = match plugin.kept_description(&self.cache_dir) {
            Some(kept) => kept,
            None => {
                let asked = self.ask(plugin)?;
                plugin.keep_description(&self.cache_dir, &asked);
                asked
            }
        };
        if let Some(message) = described::problem(&description) {
            return Err(RuntimeError::Describe { origin: plugin.label().to_owned(), message });
        }
        Ok(plugin.description.get_or_init(|| description))
    }

    /// Calls `describe`, on a thread of its own: this is asked from synchronous code, inside a runtime or not.
    fn ask(&self, plugin: &Plugin) -> Result<Description, RuntimeError> {
        let instance = plugin.instance(&self.wasm()?.engine)?;
        let failed = |message: String| RuntimeError::Describe { origin: plugin.label().to_owned(), message };
        let grants = CallGrants::nothing(&Subject { plugin: plugin.label(), ..Subject::default() });
        let call =
            self.call_of(plugin.label(), grants, Memory::of(plugin, Access::default()), Input::Nothing, describing());
        let work = async {
            invoke(instance, &self.slots, Arc::new(call), Acts::Never, async |store| {
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
                    Kind::Driver => describe!(driver),
                    Kind::HealthChecker => describe!(health),
                    Kind::Contextualiser => describe!(context),
                    Kind::ConfigManager => describe!(config),
                }
            })
            .await
        };
        let asked = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
                    runtime.block_on(work).map_err(|fault| failed(fault.message))
                })
                .join()
                .unwrap_or_else(|_| Err(failed("it could not be asked".to_owned())))
        })?;
        let (words, section, credentials, network, interfaces) = asked;
        description(words, &section, &credentials, network, interfaces).map_err(failed)
    }
}

/// Takes in what a plugin says of itself: name, version, keyword and summary, schemas, and needs.
///
/// # Errors
/// In words, when a schema is none.
pub(crate) fn description(
    [name, version, keyword, summary]: [String; 4],
    section: &str,
    credentials: &str,
    needs_network: Vec<String>,
    needs_interfaces: Vec<String>,
) -> Result<Description, String> {
    let schema = |what: &str, text: &str| -> Result<Arc<Value>, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("its schema of {what} is not JSON: {error}"))?;
        jsonschema::meta::validate(&value).map_err(|error| format!("its schema of {what} is invalid: {error}"))?;
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

fn describing() -> CallContext {
    CallContext {
        infrastructure_id: String::new(),
        node: String::new(),
        timeout: Duration::from_secs(30),
        cancel: CancellationToken::new(),
        progress: None,
        preview: false,
    }
}
