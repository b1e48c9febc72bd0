//! What commands share: opening Occopus, reading files, and working on an infrastructure while somebody watches.

use std::time::Duration;

use occopus::engine::ports::Plugins as _;
use occopus::runtime::Kind;
use occopus::{Authentication, Config, Need, Occopus, Overrides};
use occopus_engine::{EngineError, Preview, RunHandle, Summary};
use occopus_model::{Compiled, Diagnostics, Infrastructure, Webhook};

use tokio::sync::mpsc;

use super::args::{DescriptionArgs, GlobalArgs};
use super::failure::{ExitStatus, Failure, render_diagnostics, render_problems};
use super::remote::{FileDiagnostic, ServiceClient};
use super::report::{ProgressTree, spawn_reporter};
use super::{print, signals};

/// For what webhooks have not been told when all is done.
const WEBHOOK_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Something that takes longer is told.
const COMPILE_NOTICE_DELAY: Duration = Duration::from_millis(300);

/// Where commands work.
pub(crate) enum Backend {
    /// On this machine.
    Local(Box<Occopus>),
    /// Against a service.
    Service(ServiceClient),
}

/// Where a command is to work.
pub(crate) fn open_backend(common: &GlobalArgs) -> Result<Backend, Failure> {
    match ServiceClient::from_args(common)? {
        Some(service) => Ok(Backend::Service(service)),
        None => Ok(Backend::Local(Box::new(open_local(common)?))),
    }
}

/// Reads the configuration and opens what there is.
pub(crate) fn open_local(common: &GlobalArgs) -> Result<Occopus, Failure> {
    let overrides = Overrides { config: common.cfg.clone(), auth_data: common.auth_data_path.clone() };
    let (config, warnings) = Config::load(&overrides)?;
    for warning in warnings {
        print::note(format_args!("warning: {warning}"));
    }
    Ok(Occopus::new(config))
}

/// Reads a description with its node definitions; tells the warnings on standard error.
pub(crate) async fn compile(occopus: &Occopus, files: DescriptionArgs) -> Result<Compiled, Failure> {
    let compiled = occopus.compile(files.description, files.nodes).await?;
    print_warnings(&compiled.warnings);
    Ok(compiled)
}

/// Reads a description that is to be built; refuses what examples left to the user, and what can't be connected to.
pub(crate) async fn compile_deployable(occopus: &Occopus, files: DescriptionArgs) -> Result<Compiled, Failure> {
    let compiled = compile(occopus, files).await?;
    if compiled.obstacles.is_empty() { Ok(compiled) } else { Err(compiled.obstacles.into()) }
}

/// All infrastructures.
pub(crate) async fn list_infrastructures(place: &Backend) -> Result<Vec<Summary>, Failure> {
    match place {
        Backend::Local(occopus) => Ok(occopus.reader().await?.list().await?),
        Backend::Service(service) => service.list().await,
    }
}

/// Reads a description against what there is where the command is to work.
pub(crate) async fn compile_for(place: &Backend, files: DescriptionArgs) -> Result<Infrastructure, Failure> {
    Ok(match place {
        Backend::Local(occopus) => compile(occopus, files).await?.infrastructure,
        Backend::Service(service) => service.compile(files).await?.compiled.infrastructure,
    })
}

/// Finds what would go wrong when templates are rendered; tells on standard error what is doubtful.
pub(crate) async fn rehearse(
    occopus: &Occopus,
    id: Option<&str>,
    infrastructure: &Infrastructure,
) -> Result<Vec<Preview>, Failure> {
    let (previews, failures) = occopus::rehearse(&occopus.planner(id).await?, id, infrastructure).await?;
    if !failures.is_empty() {
        return Err(Failure::Nodes(failures));
    }
    let doubts = preview_warnings(&previews);
    if !doubts.is_empty() {
        print::note(render_diagnostics(&doubts).trim_end());
    }
    Ok(previews)
}

/// Doubtful things in what nodes would get, at the user's lines.
pub(crate) fn preview_warnings(previews: &[Preview]) -> Vec<FileDiagnostic> {
    let doubts = occopus::source_location::preview_warnings(previews, &|place| place.read());
    doubts.into_iter().filter_map(|doubt| serde_json::from_value(doubt).ok()).collect()
}

/// Finds out whether there are credentials for all that needs some, before anything is touched.
pub(crate) async fn require_credentials(
    occopus: &Occopus,
    infrastructure: &Infrastructure,
    previews: &[Preview],
) -> Result<(), Failure> {
    ensure_authenticated(occopus, &occopus.authentications(infrastructure, previews).await?)
}

/// A failure when there is something that can't authenticate.
pub(crate) fn ensure_authenticated(occopus: &Occopus, found: &[Authentication]) -> Result<(), Failure> {
    let problems: Vec<_> = found.iter().filter_map(authentication_problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::new(ExitStatus::Invalid, "credentials.missing", problems.join("\n"))
        .help(credential_sources_help(occopus)))
}

/// Returns why a section can't authenticate; none when it can.
pub(crate) fn authentication_problem(found: &Authentication) -> Option<String> {
    let problem = found.problem.as_ref()?;
    Some(format!("{} of `{}` at {}: {problem}", found.section, found.node_type, found.origin))
}

/// Returns where credentials come from here.
pub(crate) fn credential_sources_help(occopus: &Occopus) -> String {
    let places: Vec<_> = occopus.credential_paths().iter().map(|path| path.display().to_string()).collect();
    format!(
        "credentials are read from {}; --auth_data_path names another file, and `occopus auth check FILE` tells which rule \
         serves what",
        places.join(", otherwise ")
    )
}

/// Tells warnings on standard error.
pub(crate) fn print_warnings(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        print::note(render_problems(warnings).trim_end());
    }
}

/// Makes everything ready that a deployment needs, so that nothing of it happens half way.
pub(crate) async fn prepare(occopus: &Occopus, needs: Vec<Need>) -> Result<(), Failure> {
    let warnings = occopus.credentials().await?;
    print_warnings(&warnings);
    let (tell, mut told) = mpsc::unbounded_channel();
    // Nobody listens any more once everything is ready.
    let wanted = needs.clone();
    let preload = occopus.preload(needs, move |plugin| drop(tell.send(plugin.to_owned())));
    let slow = async {
        let mut name = told.recv().await;
        while let Some(plugin) = name {
            // What was compiled before takes a few milliseconds, which nobody needs to know of.
            name = match tokio::time::timeout(COMPILE_NOTICE_DELAY, told.recv()).await {
                Ok(next) => next,
                Err(_) => {
                    print::note(format_args!("compiling the plugin {plugin} (only this time)"));
                    told.recv().await
                }
            };
        }
    };
    let (done, ()) = tokio::join!(preload, slow);
    done?;
    let runtime = occopus.runtime().await?;
    let missing = wanted.iter().filter(|(kind, keyword)| *kind == Kind::Driver && runtime.driver(keyword).is_none());
    let missing: Vec<_> = missing.map(|(_, keyword)| keyword).collect();
    if !missing.is_empty() {
        for keyword in missing {
            print::note(format_args!(
                "warning: no plugin serves `{keyword}`: its nodes can't be looked at, nor removed"
            ));
        }
        for message in runtime.load_errors() {
            print::note(format_args!("warning: {message}"));
        }
    }
    Ok(())
}

/// Does something to an infrastructure, with progress on standard error and Ctrl-C as it should be.
pub(crate) async fn run_with_progress<T>(
    occopus: &Occopus,
    id: &str,
    webhooks: &[Webhook],
    live: ProgressTree,
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
    let reporter = spawn_reporter(events, live);
    let result = work(run).await;
    // It ends with the events; if it broke, what it would have shown is lost and nothing else.
    let _ = reporter.await;
    if let Some(notifier) = notifier
        && !notifier.flush(WEBHOOK_FLUSH_TIMEOUT).await
    {
        print::note(
            "warning: a webhook could not be told of everything; the next command on this infrastructure tries again",
        );
    }
    result.map_err(|error| Failure::Engine(Box::new(error), Some(id.to_owned())))
}
