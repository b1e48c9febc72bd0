//! The runtime: all plugins of this host, the preparation of their calls, and the engine's ports to them. Longer than
//! other files since the three share the fields of [`RuntimeCore`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use occopus_engine::ports::{
    CallContext, ConfigManager, Contextualiser, Driver, Fault, HealthChecker, OfflinePlugins, OpenDecisions, Plugins,
    Reaction, Renderers,
};
use occopus_model::{Credential, Schemas, SectionKind};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::call_clock::CallClock;
use crate::config_managers::SandboxedConfigManager;
use crate::contextualisers::{CallMode, SandboxedContextualiser};
use crate::convert::ReportedWarnings;
use crate::credential_renewal::RenewingDriver;
use crate::drivers::SandboxedDriver;
use crate::error::RuntimeError;
use crate::grants::{CallGrants, GrantSubject, Grants, PluginGrants};
use crate::health_checkers::SandboxedHealthChecker;
use crate::host::{Call, CallInput, HostServices};
use crate::http::{CallBodyMemory, HttpClient, TlsIdentity};
use crate::invoke::{SideEffects, deadline, invoke};
use crate::kind::PluginKind;
use crate::limits::CallLimits;
use crate::offline::OfflineRuntime;
use crate::plugin::{Description, Plugin, PluginSource};
use crate::process::Processes;
use crate::registry::{PluginIndex, basic_contextualiser_key};
use crate::secrets::{CallSecrets, public_fields};
use crate::sections::{SelectorCredentialSource, credential_selector};
use crate::wasm::{MAX_CONCURRENT_CALLS, WasmEngine};

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

/// Source of the user's credentials for sections.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// Returns the credential for a section; none if no rule fits.
    ///
    /// # Errors
    /// Fails if several rules fit, or the user's file can't be read.
    fn credential(&self, section: SectionKind, settings: &Value) -> Result<Option<Credential>, Fault>;

    /// Reads again what has changed or expired since. Called before each call of a plugin that has credentials.
    async fn refresh(&self) {}

    /// Reads the credentials again after a cloud denied this one for a section. Returns whether the section has another
    /// one now.
    async fn renew(&self, _section: SectionKind, _settings: &Value, _denied: &Credential) -> bool {
        false
    }
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
pub struct Runtime {
    pub(crate) shared: Arc<RuntimeCore>,
}

/// Part of the runtime that the callers of plugins share.
pub(crate) struct RuntimeCore {
    wasm: OnceLock<WasmEngine>,
    /// Guard for the creation of `wasm`, which may fail.
    wasm_init: Mutex<()>,
    pub(crate) cache_dir: PathBuf,
    pub(crate) grants: Grants,
    pub(crate) services: Arc<HostServices>,
    pub(crate) call_permits: Semaphore,
    pub(crate) credentials: Arc<dyn CredentialSource>,
    /// Plugins that could be read, in the order of their sources.
    pub(crate) plugins: Vec<Arc<Plugin>>,
    /// Errors of the plugins that could not be read.
    load_errors: Vec<RuntimeError>,
    pub(crate) index: OnceLock<PluginIndex>,
}

/// Credential of a call, and the scope of its cached tokens.
pub(crate) struct CallCredentials {
    secrets: Option<CallSecrets>,
    token_scope: String,
}

/// Credential and certificates for a call.
#[derive(Default)]
pub(crate) struct ResolvedCredentials {
    /// Secrets that the plugin may use.
    secrets: Option<CallSecrets>,
    /// Certificates for the host's connections.
    identity: Option<TlsIdentity>,
    /// Text that distinguishes the credential from others, also from earlier ones of the same rule.
    scope: String,
}

impl CallCredentials {
    /// Returns the credential for calls of this plugin. Plugins that only share a name share no tokens.
    pub(crate) fn of(plugin: &Plugin, resolved: ResolvedCredentials) -> Self {
        Self { token_scope: format!("{}\n{}", plugin.identity(), resolved.scope), secrets: resolved.secrets }
    }

    /// Returns the credential for calls that reach nothing.
    pub(crate) fn offline(plugin: &Plugin) -> Self {
        Self { secrets: None, token_scope: format!("offline\n{}", plugin.identity()) }
    }
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
        let (mut plugins, mut load_errors) = (Vec::new(), Vec::new());
        for source in sources {
            match Plugin::new(source) {
                Ok(plugin) => plugins.push(Arc::new(plugin)),
                Err(error) => {
                    tracing::warn!("{error}");
                    load_errors.push(error);
                }
            }
        }
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
        let shared = RuntimeCore {
            wasm: OnceLock::new(),
            wasm_init: Mutex::new(()),
            cache_dir: config.cache_dir,
            grants: config.grants,
            services: Arc::new(services),
            call_permits: Semaphore::new(MAX_CONCURRENT_CALLS as usize - 8),
            credentials,
            plugins,
            load_errors,
            index: OnceLock::new(),
        };
        Ok(Arc::new(Self { shared: Arc::new(shared) }))
    }

    /// Returns the messages of all plugins that could not be loaded. Blocks.
    pub fn load_errors(&self) -> Vec<String> {
        let described = self.shared.plugins.iter().filter_map(|plugin| self.shared.describe(plugin).err());
        let rejected = self.shared.index().rejected.iter();
        let known = self.shared.load_errors.iter().chain(rejected).map(ToString::to_string);
        known.chain(described.map(|error| error.to_string())).collect()
    }

    /// Returns all usable plugins, sorted by kind and keyword, without those that were replaced. Blocks.
    pub fn list(&self) -> Vec<PluginInfo> {
        let mut list: Vec<_> =
            self.shared.index().by_keyword.values().filter_map(|plugin| self.shared.info(plugin).ok()).collect();
        list.sort_by(|a, b| (a.kind, &a.description.keyword).cmp(&(b.kind, &b.description.keyword)));
        list
    }

    /// Returns the grants of a plugin and their reasons as text; none if no plugin has this name or keyword. Blocks.
    pub fn explain(&self, name: &str) -> Option<String> {
        let found: Vec<_> = self
            .list()
            .into_iter()
            .filter(|info| info.description.name == name || info.description.keyword == name)
            .collect();
        let texts: Vec<_> = found.iter().map(PluginInfo::explain).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }

    /// Compiles plugins, so that none is compiled in the middle of a deployment. Calls `report` with the keyword of
    /// each that is not compiled yet. Blocks.
    ///
    /// # Errors
    /// Fails if a plugin can't be compiled or linked.
    pub fn preload(&self, keys: &[(PluginKind, String)], report: &dyn Fn(&str)) -> Result<(), RuntimeError> {
        for key in keys {
            if let Some(plugin) = self.shared.index().by_keyword.get(key) {
                if !plugin.is_compiled() {
                    report(&key.1);
                }
                plugin.instance_pre(&self.shared.wasm()?.engine)?;
            }
        }
        if let Some(basic) =
            self.shared.index().basic_contextualiser.as_ref().filter(|_| keys.contains(&basic_contextualiser_key()))
        {
            basic.instance_pre(&self.shared.wasm()?.engine)?;
        }
        Ok(())
    }

    pub(crate) fn plugin(&self, kind: PluginKind, keyword: &str) -> Option<Arc<Plugin>> {
        self.shared.plugin(kind, keyword)
    }
}

impl RuntimeCore {
    pub(crate) fn wasm(&self) -> Result<&WasmEngine, RuntimeError> {
        let _guard = self.wasm_init.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(wasm) = self.wasm.get() {
            return Ok(wasm);
        }
        let created = WasmEngine::new(&self.cache_dir, &self.services.limits)?;
        Ok(self.wasm.get_or_init(|| created))
    }

    fn info(&self, plugin: &Plugin) -> Result<PluginInfo, RuntimeError> {
        Ok(PluginInfo {
            kind: plugin.kind,
            origin: plugin.origin.to_string(),
            digest: plugin.digest.clone(),
            contract: plugin.contract.clone(),
            size: plugin.size(),
            imports: plugin.imports(),
            is_bundled: plugin.is_bundled(),
            granted: plugin.granted.get().map(|granted| granted.grants.clone()).unwrap_or_default(),
            config_key: plugin.granted.get().map(|granted| granted.config_key.clone()).unwrap_or_default(),
            description: self.describe(plugin)?.clone(),
        })
    }

    pub(crate) fn new_call(
        &self,
        plugin: &str,
        grants: CallGrants,
        credentials: CallCredentials,
        input: CallInput,
        context: CallContext,
    ) -> Call {
        Call {
            plugin: plugin.to_owned(),
            deadline: deadline(context.timeout),
            context,
            grants,
            secrets: credentials.secrets,
            token_scope: credentials.token_scope,
            input,
            services: Arc::clone(&self.services),
            body_memory: CallBodyMemory::new(&self.services.body_memory, self.services.limits.held_body_bytes),
            clock: CallClock::new(),
            log_bytes_left: AtomicUsize::new(self.services.limits.log_bytes),
            refusals: Mutex::default(),
            possible_effects: AtomicUsize::new(0),
            unreachable: AtomicBool::new(false),
            permanent_code: Mutex::default(),
            warnings: Mutex::default(),
            linear_memory_bytes: AtomicUsize::new(0),
        }
    }

    /// Prepares a call of a plugin, with the grants and the credential of the section at hand.
    pub(crate) fn prepare(&self, plugin: &Plugin, input: CallInput, context: &CallContext) -> Result<Arc<Call>, Fault> {
        let description = self.describe(plugin).map_err(|error| unusable_plugin(&error))?;
        let endpoint: Vec<String> =
            input.section().get("endpoint").and_then(Value::as_str).map(str::to_owned).into_iter().collect();
        let nodes: Vec<String> = match &input {
            CallInput::Health(target) => target.addresses.iter().map(|address| address.value.clone()).collect(),
            _ => Vec::new(),
        };
        let identity = plugin.identity();
        let grants = self.grants.for_call(&GrantSubject {
            plugin_identity: &identity,
            endpoints: if plugin.kind == PluginKind::Contextualiser { &[] } else { &endpoint },
            node_addresses: &nodes,
            ..plugin.grant_subject(description)
        });
        let mut resolved = match plugin.kind {
            PluginKind::Driver => self.resolve_credentials(input.section(), description)?,
            _ => ResolvedCredentials::default(),
        };
        let grants = grants.with_tls_identity(resolved.identity.take());
        Ok(Arc::new(self.new_call(
            &description.name,
            grants,
            CallCredentials::of(plugin, resolved),
            input,
            context.clone(),
        )))
    }

    /// Prepares a call of a plugin that can reach nothing: no network, no credential, no host interface beyond `log`
    /// and `call`.
    pub(crate) fn prepare_offline(
        &self,
        plugin: &Plugin,
        input: CallInput,
        context: &CallContext,
    ) -> Result<Arc<Call>, Fault> {
        let description = self.describe(plugin).map_err(|error| unusable_plugin(&error))?;
        let (grants, credentials) =
            (CallGrants::offline(&plugin.grant_subject(description)), CallCredentials::offline(plugin));
        Ok(Arc::new(self.new_call(&description.name, grants, credentials, input, context.clone())))
    }

    /// Returns the credential of a driver's section, chosen by what the user wrote: secrets for the plugin, and
    /// certificates for connections.
    fn resolve_credentials(&self, section: &Value, description: &Description) -> Result<ResolvedCredentials, Fault> {
        let selector = credential_selector(section, &description.section_schema);
        // Also for a plugin that needs none: there may be certificates among them.
        let Some(credential) = self.credentials.credential(SectionKind::Resource, &selector)? else {
            return Ok(ResolvedCredentials::default());
        };
        let identity = TlsIdentity::from_tls(&credential.tls);
        // What was obtained with earlier credentials is not for later ones.
        let scope = format!("{}\n{}", credential.rule, fingerprint(&credential, identity.as_ref()));
        let Some(schema) = &description.credentials_schema else {
            return Ok(ResolvedCredentials { secrets: None, identity, scope });
        };
        let values = credential
            .fields
            .iter()
            .map(|(name, secret)| (name.clone(), zeroize::Zeroizing::new(secret.expose().to_owned())));
        let secrets = CallSecrets::new(values, public_fields(schema)).for_section(section);
        Ok(ResolvedCredentials { secrets: Some(secrets), identity, scope })
    }

    /// Runs a prepared call of this function.
    #[tracing::instrument(
        name = "plugin call",
        level = "debug",
        skip_all,
        fields(plugin = %call.plugin, function = function, node = %call.context.node)
    )]
    pub(crate) async fn run<T>(
        &self,
        plugin: &Plugin,
        function: &'static str,
        call: Arc<Call>,
        effects: SideEffects,
        work: impl AsyncFnOnce(
            &wasmtime::component::InstancePre<crate::host::HostState>,
            &mut wasmtime::Store<crate::host::HostState>,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let wasm = self.wasm().map_err(|error| unusable_plugin(&error))?;
        let instance = plugin.instance_pre(&wasm.engine).map_err(|error| unusable_plugin(&error))?;
        let (name, began) = (call.plugin.clone(), std::time::Instant::now());
        let outcome =
            invoke(instance, &self.call_permits, Arc::clone(&call), effects, async |store| work(instance, store).await)
                .await;
        tracing::debug!(
            target: "occopus::metrics",
            plugin = %name,
            function,
            answered = outcome.is_ok(),
            monotonic_counter.occopus_plugin_calls = 1_u64,
            histogram.occopus_plugin_call_seconds = began.elapsed().as_secs_f64(),
            histogram.occopus_plugin_call_memory_bytes = call.linear_memory_bytes.load(Ordering::Relaxed) as u64,
        );
        outcome
    }
}

/// Returns a digest that distinguishes the values of a credential from others. It is kept in memory only.
fn fingerprint(credential: &Credential, identity: Option<&TlsIdentity>) -> String {
    let mut hash = Sha256::new();
    if let Some(identity) = identity {
        hash.update(identity.digest());
    }
    for (name, value) in &credential.fields {
        for part in [name.as_str(), value.expose()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unusable_plugin(error: &RuntimeError) -> Fault {
    Fault::new(Reaction::GiveUp, "occopus.plugin-unusable", error.to_string())
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
        let plugin = self.shared.basic_contextualiser()?;
        Some(Arc::new(SandboxedContextualiser { shared: Arc::clone(&self.shared), plugin, mode: CallMode::Granted }))
    }

    fn open_decisions(&self, driver: &str) -> OpenDecisions {
        self.shared.open_decisions(driver)
    }
}

impl Plugins for Runtime {
    fn driver(&self, keyword: &str) -> Option<Arc<dyn Driver>> {
        let plugin = self.plugin(PluginKind::Driver, keyword)?;
        let schema = Arc::clone(&self.shared.describe(&plugin).ok()?.section_schema);
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
        Arc::new(OfflineRuntime(Arc::clone(&self.shared)))
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
        let plugin = self.plugin(kind_of(section)?, keyword)?;
        self.shared.describe(&plugin).ok().map(|description| Arc::clone(&description.section_schema))
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
            .shared
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
        let plugin = self.plugin(kind_of(section)?, keyword)?;
        self.shared.describe(&plugin).ok()?.credentials_schema.clone()
    }
}
