//! The runtime: all plugins of this host, and the engine's ports to them.

use std::path::PathBuf;
use std::sync::Arc;

use occopus_engine::ports::{
    ConfigManager, Contextualiser, Driver, HealthChecker, OfflinePlugins, OpenDecisions, Plugins, Renderers,
};
use occopus_model::{Schemas, SectionKind};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::calls::RuntimeCore;
use crate::config_managers::SandboxedConfigManager;
use crate::contextualisers::{CallMode, SandboxedContextualiser};
use crate::credential_renewal::RenewingDriver;
use crate::credential_source::CredentialSource;
use crate::drivers::SandboxedDriver;
use crate::error::RuntimeError;
use crate::grants::{Grants, PluginGrants};
use crate::health_checkers::SandboxedHealthChecker;
use crate::host::HostServices;
use crate::http::HttpClient;
use crate::kind::PluginKind;
use crate::limits::CallLimits;
use crate::offline::OfflineRuntime;
use crate::plugin::{Description, Plugin, PluginSource};
use crate::process::Processes;
use crate::registry::{Registry, basic_contextualiser_key};
use crate::reported_warnings::ReportedWarnings;
use crate::sections::SelectorCredentialSource;
use crate::wasm::{LazyEngine, MAX_CONCURRENT_CALLS};

/// Configuration of the runtime: its directories, and what plugins may do.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Directory for compiled plugins; may be deleted at any time.
    pub cache_dir: PathBuf,
    /// Directory for the state of local processes.
    pub state_dir: PathBuf,
    /// Grants of the operator.
    pub grants: Grants,
    /// Limits of a call.
    pub limits: CallLimits,
    /// Permission for templates to run commands on this machine (`cmd`).
    pub allow_commands: bool,
}

/// Facts about a plugin.
#[derive(Debug, Clone)]
pub struct PluginInfo {
    /// Kind of the plugin.
    pub kind: PluginKind,
    /// Origin of the plugin, for messages.
    pub origin: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// Version of the contract that it was built for.
    pub contract: String,
    /// Bytes of the component.
    pub size: usize,
    /// Interfaces that it imports.
    pub imports: Vec<String>,
    /// Set if it is a part of this program.
    pub is_bundled: bool,
    /// Grants of the operator, in the configuration and at its installation.
    pub granted: PluginGrants,
    /// Key of the configuration under which its grants are written: its name, or `KIND/NAME` if others have that name.
    pub config_key: String,
    /// Description of itself.
    pub description: Description,
}

/// All plugins of this host. Nothing is compiled before it is needed.
///
/// Each plugin describes itself once, and the description is cached on disk. [`Runtime::describe_plugins`] waits for that;
/// without it, the first use of any plugin blocks until it is done.
pub struct Runtime {
    pub(crate) shared: Arc<RuntimeCore>,
    registry: Arc<Registry>,
}

impl Runtime {
    /// Reads the plugins; a later one replaces an earlier one of the same kind and keyword. A broken one is left out,
    /// and reported by [`Runtime::load_errors`].
    ///
    /// # Errors
    /// Reserved for machines on which plugins can't be run; at present that is reported by the first call.
    pub fn new(
        config: RuntimeConfig,
        sources: Vec<PluginSource>,
        credentials: Arc<dyn CredentialSource>,
    ) -> Result<Arc<Self>, RuntimeError> {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("occopus"));
        let services = HostServices {
            http: HttpClient::new(),
            processes: Processes::new(config.state_dir, program),
            tokens: crate::token_cache::TokenCache::default(),
            body_memory: crate::http::BodyMemoryPool::new(config.limits.held_body_bytes_of_all),
            limits: config.limits,
            allow_commands: config.allow_commands,
            reported_warnings: ReportedWarnings::default(),
        };
        let shared = Arc::new(RuntimeCore {
            wasm: Arc::new(LazyEngine::new(config.cache_dir.clone(), services.limits.clone())),
            cache_dir: config.cache_dir,
            grants: config.grants,
            services: Arc::new(services),
            call_permits: Semaphore::new(MAX_CONCURRENT_CALLS as usize - 8),
            credentials,
        });
        let registry = Arc::new(Registry::new(Arc::clone(&shared), sources));
        Ok(Arc::new(Self { shared, registry }))
    }

    /// Waits until each plugin has described itself, from the cache or by a call, on a thread for blocking work.
    pub async fn describe_plugins(&self) {
        self.registry.describe_plugins().await;
    }

    /// Returns the messages of all plugins that could not be loaded.
    pub fn load_errors(&self) -> Vec<String> {
        self.registry.load_errors()
    }

    /// Returns all usable plugins, sorted by kind and keyword, without those that were replaced.
    pub fn list(&self) -> Vec<PluginInfo> {
        let mut list: Vec<_> = self.registry.index().by_keyword.values().map(|plugin| PluginInfo::of(plugin)).collect();
        list.sort_by(|a, b| (a.kind, &a.description.keyword).cmp(&(b.kind, &b.description.keyword)));
        list
    }

    /// Returns the grants of a plugin and their reasons as text; none if no plugin has this name or keyword.
    pub fn explain(&self, name: &str) -> Option<String> {
        let found: Vec<_> = self
            .list()
            .into_iter()
            .filter(|info| info.description.name == name || info.description.keyword == name)
            .collect();
        let texts: Vec<_> = found.iter().map(PluginInfo::explain).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }

    /// Compiles plugins on threads for blocking work, so that none is compiled in the middle of a deployment. Calls `report`
    /// with the keyword of each that is not compiled yet.
    ///
    /// # Errors
    /// Fails if a plugin can't be compiled or linked.
    pub async fn preload(&self, keys: &[(PluginKind, String)], report: impl Fn(&str)) -> Result<(), RuntimeError> {
        self.describe_plugins().await;
        let index = self.registry.index();
        for key in keys {
            if let Some(plugin) = index.by_keyword.get(key) {
                if !plugin.binary.is_compiled() {
                    report(&key.1);
                }
                plugin.binary.compiled(&self.shared.wasm).await?;
            }
        }
        // The bundled one is called too, also if another has replaced it.
        if let Some(basic) = index.basic_contextualiser.as_ref().filter(|_| keys.contains(&basic_contextualiser_key()))
        {
            basic.binary.compiled(&self.shared.wasm).await?;
        }
        Ok(())
    }

    pub(crate) fn plugin(&self, kind: PluginKind, keyword: &str) -> Option<Arc<Plugin>> {
        self.registry.plugin(kind, keyword)
    }
}

impl PluginInfo {
    fn of(plugin: &Plugin) -> Self {
        let granted = plugin.granted.clone().unwrap_or_default();
        Self {
            kind: plugin.binary.kind,
            origin: plugin.binary.origin.to_string(),
            digest: plugin.binary.digest.clone(),
            contract: plugin.binary.contract.clone(),
            size: plugin.binary.size(),
            imports: plugin.binary.imports(),
            is_bundled: plugin.binary.is_bundled(),
            granted: granted.grants,
            config_key: granted.config_key,
            description: plugin.description.clone(),
        }
    }
}

impl Renderers for Runtime {
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        let plugin = self.plugin(PluginKind::Contextualiser, keyword)?;
        Some(Arc::new(SandboxedContextualiser { shared: Arc::clone(&self.shared), plugin, mode: CallMode::Granted }))
    }

    fn config_manager(&self, keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        let plugin = self.plugin(PluginKind::ConfigManager, keyword)?;
        Some(Arc::new(SandboxedConfigManager { shared: Arc::clone(&self.shared), plugin }))
    }

    fn basic_contextualiser(&self) -> Option<Arc<dyn Contextualiser>> {
        let plugin = self.registry.basic_contextualiser()?;
        Some(Arc::new(SandboxedContextualiser { shared: Arc::clone(&self.shared), plugin, mode: CallMode::Granted }))
    }

    fn open_decisions(&self, driver: &str) -> OpenDecisions {
        self.registry.open_decisions(driver)
    }
}

impl Plugins for Runtime {
    fn driver(&self, keyword: &str) -> Option<Arc<dyn Driver>> {
        let plugin = self.plugin(PluginKind::Driver, keyword)?;
        let schema = Arc::clone(&plugin.description.section_schema);
        let credentials =
            Arc::new(SelectorCredentialSource { credentials: Arc::clone(&self.shared.credentials), schema });
        let driver = SandboxedDriver { shared: Arc::clone(&self.shared), plugin };
        Some(Arc::new(RenewingDriver { driver, credentials }))
    }

    fn health_checker(&self, keyword: &str) -> Option<Arc<dyn HealthChecker>> {
        let plugin = self.plugin(PluginKind::HealthChecker, keyword)?;
        Some(Arc::new(SandboxedHealthChecker { shared: Arc::clone(&self.shared), plugin }))
    }

    fn offline(&self) -> Arc<dyn OfflinePlugins> {
        Arc::new(OfflineRuntime { shared: Arc::clone(&self.shared), registry: Arc::clone(&self.registry) })
    }
}

fn kind_of(section: SectionKind) -> Option<PluginKind> {
    match section {
        SectionKind::Resource => Some(PluginKind::Driver),
        SectionKind::Contextualisation => Some(PluginKind::Contextualiser),
        SectionKind::ConfigManagement => Some(PluginKind::ConfigManager),
        SectionKind::HealthCheck => Some(PluginKind::HealthChecker),
        SectionKind::Webhook => None,
    }
}

impl Schemas for Runtime {
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        Some(Arc::clone(&self.plugin(kind_of(section)?, keyword)?.description.section_schema))
    }

    fn endpoint_problem(&self, _: SectionKind, _: &str, endpoint: &str) -> Option<String> {
        crate::grants::endpoint_problem(endpoint)
    }

    fn webhook_problem(&self, url: &str) -> Option<String> {
        crate::grants::webhook_problem(url)
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        let kind = kind_of(section);
        let mut keywords: Vec<_> = self
            .registry
            .index()
            .by_keyword
            .keys()
            .filter(|(of, _)| Some(*of) == kind)
            .map(|(_, keyword)| keyword.clone())
            .collect();
        keywords.sort();
        keywords
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        self.plugin(kind_of(section)?, keyword)?.description.credentials_schema.clone()
    }
}
