//! Store, runtime and engine put together, each opened when it is first needed.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use occopus_conformance::{ConformanceError, ProgressEvent, Report, Subject};
use occopus_engine::ports::{Driver, HealthChecker, Store, StoreError, SystemClock};
use occopus_engine::{Engine, EngineError, Event, EventKind, InfrastructureId, Preview, Settings, StopSignal};
use occopus_model::{CompileInput, Compiled, Diagnostics, Implementation, Infrastructure, Webhook};
use occopus_runtime::{Origin, PluginInfo, PluginSource, Runtime, RuntimeConfig, RuntimeError};
use occopus_store::SqliteStore;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::authentication::{self, Authentication};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::directories::{UserDirs, auth_data_in};
use crate::disabled::{NoPlugins, NoStore};
use crate::holder;
use crate::in_process::{AllPlugins, InProcess};
use crate::installed::InstalledPlugins;
use crate::needs::Need;
use crate::planned::WithPlanned;
use crate::plugin_sources;
use crate::webhooks::WebhookNotifier;
use crate::workers::run_on_worker;

/// A facade over store, plugin runtime and engine of this machine. Each is opened on its first use, and kept until it is
/// dropped.
pub struct Occopus {
    config: Config,
    store: OnceCell<Arc<SqliteStore>>,
    runtime: OnceCell<Arc<Runtime>>,
    credentials: Arc<Credentials>,
    in_process: InProcess,
}

/// An error of opening or using a part of Occopus.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An error of the engine, such as a record that cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An error of the plugin runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// An error of the conformance suite.
    #[error(transparent)]
    Conformance(#[from] ConformanceError),
    /// Errors in the user's files.
    #[error("the files are not usable")]
    Files(Diagnostics),
}

impl From<Diagnostics> for OpenError {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Files(diagnostics)
    }
}

impl Occopus {
    /// Creates the facade. Opens nothing yet.
    pub fn new(config: Config) -> Self {
        let credentials = Arc::new(Credentials::new(config.auth_data.clone(), config.auth_data_candidates.clone()));
        let (store, runtime) = (OnceCell::new(), OnceCell::new());
        Self { config, store, runtime, credentials, in_process: InProcess::default() }
    }

    /// Adds a driver of this program for the `resource.type` of this keyword. It runs in this process with all its
    /// rights, outside of any sandbox. `section_schema` is the JSON Schema of the `resource` section without `type`.
    #[must_use]
    pub fn with_driver(mut self, keyword: &str, driver: Arc<dyn Driver>, section_schema: Value) -> Self {
        self.in_process.drivers.insert(keyword.to_owned(), (driver, Arc::new(section_schema)));
        self
    }

    /// Adds a health checker of this program for this key in `health_check`. `schema` is the JSON Schema of the key's value.
    #[must_use]
    pub fn with_health_checker(mut self, keyword: &str, checker: Arc<dyn HealthChecker>, schema: Value) -> Self {
        self.in_process.health_checkers.insert(keyword.to_owned(), (checker, Arc::new(schema)));
        self
    }

    /// The directories of this user.
    pub fn directories(&self) -> &UserDirs {
        &self.config.directories
    }

    /// Returns an engine over the store without plugins: for `status`, `list` and `events`.
    ///
    /// # Errors
    /// Fails if the store cannot be opened.
    pub async fn reader(&self) -> Result<Engine, OpenError> {
        let engine = Engine::new(Arc::new(NoPlugins), self.store().await?, Arc::new(SystemClock));
        Ok(engine.with_settings(engine_settings(&self.config)))
    }

    /// Returns an engine over the store with all plugins.
    ///
    /// # Errors
    /// Fails if the store or the plugin runtime cannot be opened.
    pub async fn engine(&self) -> Result<Engine, OpenError> {
        let engine = Engine::new(self.plugins().await?, self.store().await?, Arc::new(SystemClock));
        Ok(engine.with_settings(engine_settings(&self.config)))
    }

    /// Returns an engine with all plugins over another store, such as a wrapper of [`Occopus::store`]. Does not wait until the
    /// plugins have described themselves, so that a service can answer meanwhile: await [`Occopus::runtime`] before a call
    /// that needs a plugin.
    ///
    /// # Errors
    /// Fails if the plugin runtime cannot be opened.
    pub async fn engine_over(&self, store: Arc<dyn Store>) -> Result<Engine, OpenError> {
        let plugins = AllPlugins { in_process: self.in_process.clone(), runtime: self.open_runtime().await? };
        let engine = Engine::new(Arc::new(plugins), store, Arc::new(SystemClock));
        Ok(engine.with_settings(engine_settings(&self.config)))
    }

    /// Returns an engine for plans and previews. Without the id of an infrastructure it has no store: none is read, and
    /// none is created.
    ///
    /// # Errors
    /// Fails if the plugin runtime, or with an id the store, cannot be opened.
    pub async fn planner(&self, id: Option<&InfrastructureId>) -> Result<Engine, OpenError> {
        match id {
            Some(_) => self.engine().await,
            None => {
                let engine = Engine::new(self.plugins().await?, Arc::new(NoStore), Arc::new(SystemClock));
                Ok(engine.with_settings(engine_settings(&self.config)))
            }
        }
    }

    /// Starts to deliver events to the webhooks of an infrastructure, and returns the events passed on. Call it before
    /// the first event, and after [`Occopus::credentials`].
    ///
    /// # Errors
    /// Fails if the store or the plugin runtime cannot be opened.
    pub async fn start_webhooks(
        &self,
        id: &InfrastructureId,
        webhooks: &[Webhook],
        events: UnboundedReceiver<Event>,
    ) -> Result<(UnboundedReceiver<Event>, WebhookNotifier), OpenError> {
        let (engine, runtime) = (self.reader().await?, self.open_runtime().await?);
        Ok(WebhookNotifier::start(&engine, &runtime, &*self.credentials, id, webhooks, events).await)
    }

    /// Returns the plugin runtime with all bundled and installed plugins, once each has described itself. Files that cannot
    /// be read are logged and left out.
    ///
    /// # Errors
    /// Fails if the runtime cannot be started.
    pub async fn runtime(&self) -> Result<Arc<Runtime>, OpenError> {
        let runtime = self.open_runtime().await?;
        runtime.describe_plugins().await;
        Ok(runtime)
    }

    /// Returns the plugin runtime, in which not every plugin may have described itself.
    async fn open_runtime(&self) -> Result<Arc<Runtime>, OpenError> {
        let open = async || {
            let (directories, installed) = (self.config.plugin_directories.clone(), self.config.installed.clone());
            self.runtime_of(move || {
                let (sources, unreadable) = plugin_sources::collect_sources(&directories, &installed);
                unreadable.iter().for_each(|message| tracing::warn!("{message}"));
                Ok(sources)
            })
            .await
        };
        Ok(self.runtime.get_or_try_init(open).await?.clone())
    }

    /// Returns a runtime with a file as its only plugin, to inspect the plugin before it is installed.
    ///
    /// # Errors
    /// Returns [`RuntimeError::Unreadable`] if the file cannot be read. Fails if the runtime cannot be started.
    pub async fn runtime_for_file(&self, file: &Path) -> Result<Arc<Runtime>, OpenError> {
        let file = file.to_owned();
        let runtime = self.runtime_of(move || Ok(vec![plugin_sources::read_plugin(&file)?])).await?;
        runtime.describe_plugins().await;
        Ok(runtime)
    }

    /// Returns a runtime with all plugins and a file as it would be once it is installed: what it requests is granted,
    /// and with `replaces` it replaces others. [`Runtime::load_errors`] then has the reasons of what is left out.
    ///
    /// # Errors
    /// Returns [`RuntimeError::NotAdmitted`] if what the plugin requests cannot be granted, and
    /// [`RuntimeError::Unreadable`] if the file cannot be read. Fails if the runtime cannot be started.
    pub async fn runtime_as_installed(
        &self,
        file: &Path,
        info: &PluginInfo,
        replaces: bool,
    ) -> Result<Arc<Runtime>, OpenError> {
        let pin = InstalledPlugins::pin_for(info, replaces).map_err(|error| RuntimeError::NotAdmitted {
            origin: file.display().to_string(),
            message: error.to_string(),
        })?;
        let (file, directories) = (file.to_owned(), self.config.plugin_directories.clone());
        let installed = self.config.installed.clone();
        let destination = Origin::File(self.plugin_directory().join(InstalledPlugins::file_name(info)));
        // Another plugin under this name stays, and keeps this one out.
        let overwrites = installed.may_overwrite(info);
        let runtime = self.runtime_of(move || {
            let source = plugin_sources::read_plugin(&file)?;
            let (mut sources, _) = plugin_sources::collect_sources(&directories, &installed);
            sources.retain(|other| !overwrites || other.origin != destination);
            sources.push(PluginSource { consent: Some(pin), ..source });
            Ok(sources)
        });
        let runtime = runtime.await?;
        runtime.describe_plugins().await;
        Ok(runtime)
    }

    /// Runs the conformance suite on a file with a fixture. Calls `on_progress` for each check that has ended or takes long.
    /// `stop` ends the tests early; what they made is removed all the same.
    ///
    /// # Errors
    /// Fails if the file or the fixture cannot be read, or the tests cannot be started.
    pub async fn test_plugin(
        &self,
        file: &Path,
        fixture: &Path,
        stop: StopSignal,
        on_progress: impl FnMut(&ProgressEvent<'_>) + Send + 'static,
    ) -> Result<Report, OpenError> {
        let (path, fixture, cache_dir) = (file.to_owned(), fixture.to_owned(), self.config.directories.cache.clone());
        let tested = blocking(move || {
            let plugin = plugin_sources::read_plugin(&path)?;
            occopus_conformance::run(&Subject { plugin, fixture, cache_dir, stop }, on_progress)
        });
        Ok(tested.await?)
    }

    /// Returns the directory into which plugins are installed.
    pub fn plugin_directory(&self) -> PathBuf {
        self.config.directories.data.join("plugins")
    }

    /// Returns a runtime with these plugins, which are read on a thread for blocking work.
    async fn runtime_of(
        &self,
        read_sources: impl FnOnce() -> Result<Vec<PluginSource>, RuntimeError> + Send + 'static,
    ) -> Result<Arc<Runtime>, OpenError> {
        let config = RuntimeConfig {
            cache_dir: self.config.directories.cache.clone(),
            state_dir: self.config.directories.data.join("processes"),
            grants: self.config.grants.clone(),
            limits: self.config.limits.clone(),
            allow_commands: self.config.allow_commands,
        };
        let credentials = self.credentials.clone();
        Ok(blocking(move || Runtime::new(config, read_sources()?, credentials)).await?)
    }

    /// Reads a description with its node definitions: the given ones, otherwise those beside the description, otherwise those
    /// that `import` stored. A file of credentials beside the description is added to the candidates.
    ///
    /// # Errors
    /// Returns [`OpenError::Files`] with all errors in the files. Fails if the store or the plugin runtime cannot be opened.
    pub async fn compile(&self, description: PathBuf, definitions: Vec<PathBuf>) -> Result<Compiled, OpenError> {
        let stored = self.stored_definitions().await?;
        let runtime = self.plugins().await?;
        self.credentials.add_default_path(auth_data_in(description.parent().unwrap_or(Path::new(""))));
        let instances = self.config.instances;
        let input = CompileInput { description, definitions, stored, events: &EventKind::NAMES, instances };
        let compiled = run_on_worker(move || occopus_model::compile(&input, &WithPlanned(&*runtime))).await?;
        Ok(compiled)
    }

    /// Compiles a description that came over a network: it imports nothing, reads no file, and may carry its node
    /// definitions; those of other types are the ones that `import` stored. `name` stands for the text in messages. What only
    /// keeps it from being deployed, such as a placeholder of an example, is no error: it is in [`Compiled::obstacles`],
    /// and [`Preparation`](crate::Preparation) refuses it.
    ///
    /// # Errors
    /// Returns [`OpenError::Files`] with all errors. Fails if the store or the plugin runtime cannot be opened.
    pub async fn compile_document(&self, name: &str, text: String) -> Result<Compiled, OpenError> {
        let stored = self.stored_definitions().await?;
        let (runtime, name, instances) = (self.plugins().await?, name.to_owned(), self.config.instances);
        let compiled = run_on_worker(move || {
            occopus_model::compile_document(
                &name,
                &text,
                &stored,
                &EventKind::NAMES,
                instances,
                &WithPlanned(&*runtime),
            )
        });
        Ok(compiled.await?)
    }

    /// Reads node definitions that came over a network. `name` stands for the text in messages. Also returns warnings.
    ///
    /// # Errors
    /// Returns [`OpenError::Files`] with all errors in the text. Fails if the plugin runtime cannot be opened.
    pub async fn read_definitions_document(
        &self,
        name: &str,
        text: String,
    ) -> Result<(IndexMap<String, Vec<Implementation>>, Diagnostics), OpenError> {
        let (runtime, name) = (self.plugins().await?, name.to_owned());
        let read = move || occopus_model::read_definitions_document(&name, &text, &WithPlanned(&*runtime));
        Ok(run_on_worker(read).await?)
    }

    /// Reads the implementations of one type that came over a network. The type's name stands for the text in messages. Also
    /// returns warnings.
    ///
    /// # Errors
    /// Returns [`OpenError::Files`] with all errors in the text. Fails if the plugin runtime cannot be opened.
    pub async fn read_definition_document(
        &self,
        node_type: &str,
        text: String,
    ) -> Result<(Vec<Implementation>, Diagnostics), OpenError> {
        let (runtime, name) = (self.plugins().await?, node_type.to_owned());
        let read = move || occopus_model::read_definition_document(&name, &text, &name, &WithPlanned(&*runtime));
        Ok(run_on_worker(read).await?)
    }

    /// Reads files of node definitions. Also returns warnings.
    ///
    /// # Errors
    /// Returns [`OpenError::Files`] with all errors in the files. Fails if the plugin runtime cannot be opened.
    pub async fn read_definitions(
        &self,
        files: Vec<PathBuf>,
    ) -> Result<(IndexMap<String, Vec<Implementation>>, Diagnostics), OpenError> {
        let runtime = self.plugins().await?;
        Ok(run_on_worker(move || occopus_model::read_definitions(&files, &WithPlanned(&*runtime))).await?)
    }

    /// Reads the user's credentials, so that errors in them show before anything is done. Returns warnings.
    ///
    /// # Errors
    /// Returns [`OpenError::Files`] with all errors in them. Fails if the plugin runtime cannot be opened.
    pub async fn credentials(&self) -> Result<Diagnostics, OpenError> {
        let (credentials, runtime) = (self.credentials.clone(), self.plugins().await?);
        Ok(blocking(move || credentials.read(&WithPlanned(&*runtime))).await?)
    }

    /// Checks the user's credentials as [`Occopus::credentials`] does, but runs no command for them. Returns warnings.
    ///
    /// # Errors
    /// Returns [`OpenError::Files`] with all errors in them. Fails if the plugin runtime cannot be opened.
    pub(crate) async fn check_credentials(&self) -> Result<Diagnostics, OpenError> {
        let (credentials, runtime) = (self.credentials.clone(), self.plugins().await?);
        Ok(blocking(move || credentials.check(&WithPlanned(&*runtime))).await?)
    }

    /// Adds the files of credentials beside the description of an existing infrastructure to the candidates, as its build
    /// did. An infrastructure that cannot be read adds none.
    pub async fn add_credential_paths_of(&self, id: &InfrastructureId) {
        let Ok(reader) = self.reader().await else { return };
        // The caller that needs the infrastructure reports why it cannot be read.
        let Ok(Some(infrastructure)) = reader.desired(id).await else { return };
        for implementation in infrastructure.definitions.values().flatten() {
            let folder = Path::new(&implementation.definition_dir);
            // Definitions are in the description, or in a folder beside it.
            let beside = if folder.ends_with("nodes") { folder.parent() } else { Some(folder) };
            if let Some(folder) = beside.filter(|folder| folder.is_absolute()) {
                self.credentials.add_default_path(auth_data_in(folder));
            }
        }
    }

    /// Returns the files in which credentials are looked for, for messages.
    pub fn credential_paths(&self) -> Vec<PathBuf> {
        self.credentials.paths()
    }

    /// Returns the credentials that serve the sections of these nodes. Call [`Occopus::credentials`] first.
    ///
    /// # Errors
    /// Fails if the plugin runtime cannot be opened.
    pub(crate) async fn authentications(
        &self,
        infrastructure: &Infrastructure,
        previews: &[Preview],
    ) -> Result<Vec<Authentication>, OpenError> {
        let runtime = self.plugins().await?;
        Ok(authentication::check_sections(infrastructure, previews, &WithPlanned(&*runtime), &*self.credentials))
    }

    /// Compiles plugins that are not compiled yet. Calls `on_compile` with the name of each before it begins.
    ///
    /// # Errors
    /// Fails if the plugin runtime cannot be opened, or a plugin cannot be compiled.
    pub async fn preload(&self, needs: Vec<Need>, on_compile: impl Fn(&str)) -> Result<(), OpenError> {
        Ok(self.open_runtime().await?.preload(&needs, on_compile).await?)
    }

    /// Marks the store as idle: nothing will be written for now, so that the next process need not check it.
    pub async fn mark_store_idle(&self) {
        if let Some(store) = self.store.get().cloned() {
            blocking(move || store.quiesce()).await;
        }
    }

    /// Returns the store, for what a service keeps beside infrastructures.
    ///
    /// # Errors
    /// Fails if the store cannot be opened.
    pub async fn store(&self) -> Result<Arc<dyn Store>, OpenError> {
        Ok(self.open_store().await?)
    }

    async fn plugins(&self) -> Result<Arc<AllPlugins>, OpenError> {
        Ok(Arc::new(AllPlugins { in_process: self.in_process.clone(), runtime: self.runtime().await? }))
    }

    async fn open_store(&self) -> Result<Arc<SqliteStore>, OpenError> {
        let open = async || {
            let file = self.config.store.clone();
            let store = blocking(move || SqliteStore::open(file)).await?;
            if let Some(damage) = store.damage() {
                tracing::error!("{damage}");
            }
            Ok::<_, StoreError>(Arc::new(store))
        };
        Ok(self.store.get_or_try_init(open).await?.clone())
    }

    /// Returns the node definitions in the store. Creates no store if there is none.
    async fn stored_definitions(&self) -> Result<IndexMap<String, Vec<Implementation>>, OpenError> {
        if self.store.initialized() || self.config.store.exists() {
            Ok(self.reader().await?.definitions().await?)
        } else {
            Ok(IndexMap::new())
        }
    }
}

impl Drop for Occopus {
    fn drop(&mut self) {
        // The next process need not check the store.
        if let Some(store) = self.store.get() {
            store.quiesce();
        }
    }
}

fn engine_settings(config: &Config) -> Settings {
    let defaults = Settings::default();
    Settings {
        holder: holder::this_process(),
        holder_is_dead: Some(Arc::new(holder::is_dead)),
        calls_per_endpoint: config.calls_per_endpoint.map_or(defaults.calls_per_endpoint, NonZeroUsize::get),
        instance_limits: config.instances,
        unreachable_patience: config.unreachable_patience.map_or(defaults.unreachable_patience, Duration::from_secs),
        ..defaults
    }
}

/// Runs work that waits for files, or takes a core for a while, outside of the asynchronous threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Nothing cancels it, so it has panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
