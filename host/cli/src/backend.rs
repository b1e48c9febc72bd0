//! Shared parts of commands: opening a backend (this machine or a service), reading files, and runs with progress.

use std::time::Duration;

use occopus::engine::ports::Plugins as _;
use occopus::runtime::PluginKind;
use occopus::{Authentication, Config, Need, Occopus, OpenError, Overrides, Preparation, PrepareError, Purpose, Step};
use occopus_api::FileDiagnostic;
use occopus_engine::{EngineError, InfrastructureId, Preview, RunHandle, Summary};
use occopus_model::{Compiled, Diagnostics, Infrastructure, Webhook};

use tokio::sync::mpsc;

use super::args::{DescriptionArgs, GlobalArgs};
use super::failure::{Failure, render_diagnostics, render_problems};
use super::remote::ServiceClient;
use super::report::{ProgressTree, spawn_reporter};
use super::{print, signals};

/// Time for the delivery of the remaining events to webhooks after a run.
const WEBHOOK_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which the compilation of a plugin is reported.
const COMPILE_NOTICE_DELAY: Duration = Duration::from_millis(300);

/// The backend of a command.
pub(crate) enum Backend {
    /// The store and the plugins of this machine.
    Local(Box<Occopus>),
    /// A service.
    Service(ServiceClient),
}

/// Opens the backend of a command: a service if the options or the environment name one, otherwise this machine.
pub(crate) fn open_backend(common: &GlobalArgs) -> Result<Backend, Failure> {
    match ServiceClient::from_args(common)? {
        Some(service) => Ok(Backend::Service(service)),
        None => Ok(Backend::Local(Box::new(open_local(common)?))),
    }
}

/// Reads the configuration, prints its warnings, and opens this machine's Occopus.
pub(crate) fn open_local(common: &GlobalArgs) -> Result<Occopus, Failure> {
    let overrides = Overrides { config: common.cfg.clone(), auth_data: common.auth_data_path.clone() };
    let (config, warnings) = Config::load(&overrides)?;
    for warning in warnings {
        print::note(format_args!("warning: {warning}"));
    }
    Ok(Occopus::new(config))
}

/// Reads a description with its node definitions; prints warnings on standard error.
pub(crate) async fn compile(occopus: &Occopus, files: DescriptionArgs) -> Result<Compiled, Failure> {
    let compiled = occopus.compile(files.description, files.nodes).await?;
    print_warnings(&compiled.warnings);
    Ok(compiled)
}

/// Returns all infrastructures.
pub(crate) async fn list_infrastructures(backend: &Backend) -> Result<Vec<Summary>, Failure> {
    match backend {
        Backend::Local(occopus) => Ok(occopus.reader().await?.list().await?),
        Backend::Service(service) => service.list().await,
    }
}

/// Reads a description against the plugins and stored definitions of the backend.
pub(crate) async fn compile_for(backend: &Backend, files: DescriptionArgs) -> Result<Infrastructure, Failure> {
    Ok(match backend {
        Backend::Local(occopus) => compile(occopus, files).await?.infrastructure,
        Backend::Service(service) => service.compile(files).await?.compiled.infrastructure,
    })
}

/// Reads a description, and prepares it as far as this step, with the instances of `existing` if that is given. Prints
/// warnings on standard error, each as soon as it is known.
pub(crate) async fn prepare_description<'a>(
    occopus: &'a Occopus,
    files: DescriptionArgs,
    purpose: Purpose,
    existing: Option<&InfrastructureId>,
    until: Step,
) -> Result<Preparation<'a>, Failure> {
    let compiled = compile(occopus, files).await?;
    let mut preparation = Preparation::new(occopus, compiled, purpose)?;
    if let Some(id) = existing {
        preparation = preparation.with_existing(occopus.engine().await?, id);
    }
    preparation.advance(Step::Credentials.min(until), |_| {}).await?;
    print_warnings(preparation.credential_warnings());
    with_compile_notices(async |on_compile| preparation.advance(Step::Preload.min(until), on_compile).await).await?;
    if purpose == Purpose::Sweep {
        warn_of_missing_drivers(occopus, &preparation.needs()).await?;
    }
    preparation.advance(Step::Rehearse.min(until), |_| {}).await?;
    let warnings = preview_warnings(preparation.previews());
    if !warnings.is_empty() {
        print::note(render_diagnostics(&warnings).trim_end());
    }
    preparation.advance(until, |_| {}).await?;
    Ok(preparation)
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Open(OpenError::Engine(error)) => error.into(),
            PrepareError::Open(error) => error.into(),
            PrepareError::Nodes(failures) => Self::Nodes(failures),
        }
    }
}

/// Returns the warnings of previews, at the user's lines.
pub(crate) fn preview_warnings(previews: &[Preview]) -> Vec<FileDiagnostic> {
    occopus::source_location::preview_warnings(previews, &|location| location.read())
}

/// Fails with all sections that cannot authenticate.
pub(crate) fn ensure_authenticated(occopus: &Occopus, preparation: &Preparation<'_>) -> Result<(), Failure> {
    let problems: Vec<_> = preparation.authentications().iter().filter_map(authentication_problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::new("credentials.missing", problems.join("\n")).help(credential_sources_help(occopus)))
}

/// Returns why a section cannot authenticate; none if it can.
pub(crate) fn authentication_problem(found: &Authentication) -> Option<String> {
    let problem = found.problem.as_ref()?;
    Some(format!("{} of `{}` at {}: {problem}", found.section, found.node_type, found.origin))
}

/// Returns a line of help that names the files of credentials.
pub(crate) fn credential_sources_help(occopus: &Occopus) -> String {
    let paths: Vec<_> = occopus.credential_paths().iter().map(|path| path.display().to_string()).collect();
    format!(
        "credentials are read from {}; --auth_data_path names another file, and `occopus auth check FILE` shows which rule \
         serves which section",
        paths.join(", otherwise ")
    )
}

/// Prints warnings on standard error.
pub(crate) fn print_warnings(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        print::note(render_problems(warnings).trim_end());
    }
}

/// Reads the credentials and compiles the plugins that a run on an existing infrastructure needs, so that neither happens in
/// the middle of it. Prints a warning for each missing driver.
pub(crate) async fn prepare(occopus: &Occopus, needs: Vec<Need>) -> Result<(), Failure> {
    print_warnings(&occopus.credentials().await?);
    let needed = needs.clone();
    with_compile_notices(async |on_compile| occopus.preload(needs, on_compile).await).await?;
    warn_of_missing_drivers(occopus, &needed).await
}

/// Does work that compiles plugins, and prints a line for each whose compilation takes long.
async fn with_compile_notices<T>(work: impl AsyncFnOnce(&dyn Fn(&str)) -> T) -> T {
    let (sender, mut compiled) = mpsc::unbounded_channel();
    let work = async move {
        // The receiver may have gone once everything is ready.
        let on_compile = move |plugin: &str| drop(sender.send(plugin.to_owned()));
        work(&on_compile).await
    };
    let report_slow = async {
        let mut name = compiled.recv().await;
        while let Some(plugin) = name {
            // A plugin that was compiled before takes a few milliseconds, which is not worth a line.
            name = match tokio::time::timeout(COMPILE_NOTICE_DELAY, compiled.recv()).await {
                Ok(next) => next,
                Err(_) => {
                    print::note(format_args!("compiling the plugin {plugin} (only the first time)"));
                    compiled.recv().await
                }
            };
        }
    };
    tokio::join!(work, report_slow).0
}

/// Prints a warning for each driver that there is no plugin for.
async fn warn_of_missing_drivers(occopus: &Occopus, needs: &[Need]) -> Result<(), Failure> {
    let runtime = occopus.runtime().await?;
    let is_missing = |(kind, keyword): &&Need| *kind == PluginKind::Driver && runtime.driver(keyword).is_none();
    let missing: Vec<_> = needs.iter().filter(is_missing).map(|(_, keyword)| keyword).collect();
    if !missing.is_empty() {
        for keyword in missing {
            print::note(format_args!(
                "warning: no plugin for `{keyword}`: its machines can neither be observed nor removed"
            ));
        }
        for message in runtime.load_errors() {
            print::note(format_args!("warning: {message}"));
        }
    }
    Ok(())
}

/// Runs work on an infrastructure, with progress on standard error and delivery to webhooks. The first signal prints
/// `first_signal` and requests a stop, the second stops at once.
pub(crate) async fn run_with_progress<T>(
    occopus: &Occopus,
    id: &InfrastructureId,
    webhooks: &[Webhook],
    tree: ProgressTree,
    first_signal: &'static str,
    work: impl AsyncFnOnce(RunHandle) -> Result<T, EngineError>,
) -> Result<T, Failure> {
    let (run, events) = RunHandle::new();
    signals::listen(run.stop.clone(), first_signal);
    let (events, notifier) = match webhooks {
        [] => (events, None),
        webhooks => {
            let (events, notifier) = occopus.start_webhooks(id, webhooks, events).await?;
            (events, Some(notifier))
        }
    };
    let reporter = spawn_reporter(events, tree);
    let result = work(run).await;
    // It ends with the events; if it panicked, only its output is lost.
    let _ = reporter.await;
    if let Some(notifier) = notifier
        && !notifier.flush(WEBHOOK_FLUSH_TIMEOUT).await
    {
        print::note(
            "warning: some events could not be delivered to webhooks; the next command on this infrastructure tries again",
        );
    }
    result.map_err(|error| Failure::Engine(Box::new(error), Some(id.to_string())))
}
