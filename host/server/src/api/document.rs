//! Checks of a posted description before anything is done: compilation, the operator's rules, credentials, and the
//! rendering of its nodes. Reads no file, runs no program, and calls no cloud.

use std::time::Duration;

use occopus::source_location::SourceLocation;
use occopus::{Authentication, Preparation, PrepareError, Purpose, Step};
use occopus_api::FileDiagnostic;
use occopus_engine::InfrastructureId;
use occopus_model::{Diagnostic, Diagnostics, Implementation, Infrastructure, section_type};
use occopus_runtime::grants::{self, Interface};

use crate::access::{Caller, Scope};
use crate::problem::{ApiError, POSTED_DOCUMENT, strip_folders};
use crate::state::Service;

/// Time limit of rendering for a caller who may only read.
const READER_RENDER_TIMEOUT: Duration = Duration::from_secs(20);
/// Time limit of rendering for a caller who may build.
const OPERATOR_RENDER_TIMEOUT: Duration = Duration::from_secs(100);

/// A description that passed all checks.
pub(crate) struct CheckedDescription {
    pub(crate) infrastructure: Infrastructure,
    pub(crate) warnings: Diagnostics,
    /// Warnings about rendered nodes, in the form of problems.
    pub(crate) doubts: Vec<FileDiagnostic>,
}

/// Checks a document as the description of the infrastructure with this id, after waiting for the caller's turn in the
/// scheduler.
pub(crate) async fn check(
    service: &Service,
    caller: &Caller,
    id: Option<&InfrastructureId>,
    text: String,
) -> Result<CheckedDescription, ApiError> {
    // Descriptions can be large, and their templates slow: a permit limits how many are worked on.
    let permit = service.scheduler.acquire(caller).await;
    // In a task of its own, which nothing cancels: if the request is cancelled, the permit is still held until the end.
    let (occopus, document) = (service.occopus.clone(), text.clone());
    let compiling = tokio::spawn(async move { (occopus.compile_document(POSTED_DOCUMENT, document).await, permit) });
    let (compiled, _permit) = match compiling.await {
        Ok((compiled, permit)) => (compiled?, permit),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let mut preparation = Preparation::new(&service.occopus, compiled, Purpose::Deploy)?;
    forbid(service, preparation.infrastructure()).await?;
    let failed = |error| prepare_problem(error, &text);
    preparation.advance(Step::Preload, |_| {}).await.map_err(failed)?;
    if let Some(id) = id
        && service.engine.exists(id).await?
    {
        preparation = preparation.with_existing(service.engine.clone(), id);
    }
    let time_limit = if caller.scope == Scope::Read { READER_RENDER_TIMEOUT } else { OPERATOR_RENDER_TIMEOUT };
    let rehearsed = tokio::time::timeout(time_limit, preparation.advance(Step::Rehearse, |_| {})).await;
    rehearsed.map_err(|_| render_timeout(time_limit))?.map_err(failed)?;
    // An endpoint that is allowed as written must also be allowed as rendered.
    let rendered = preparation.previews().iter().filter_map(|preview| {
        let endpoint = preview.resource.get("endpoint")?.as_str()?;
        forbidden_endpoint(service, endpoint, &preview.origin)
    });
    refuse(rendered.collect())?;
    preparation.advance(Step::Authenticate, |_| {}).await.map_err(failed)?;
    refuse(preparation.authentications().iter().filter_map(credentials_problem).collect())?;
    let doubts = occopus::source_location::preview_warnings(preparation.previews(), &|location| {
        (location.file == POSTED_DOCUMENT).then(|| text.clone())
    });
    let (infrastructure, warnings) = preparation.into_parts();
    Ok(CheckedDescription { infrastructure, warnings, doubts })
}

fn prepare_problem(error: PrepareError, text: &str) -> ApiError {
    match error {
        PrepareError::Open(error) => error.into(),
        PrepareError::Nodes(failures) => ApiError::failed_nodes(&failures, text),
    }
}

/// Fails if the operator does not allow a part of the description over the network.
async fn forbid(service: &Service, infrastructure: &Infrastructure) -> Result<(), ApiError> {
    let plugins = service.plugins().await?;
    let used = infrastructure.nodes.iter().flat_map(|node| infrastructure.candidates(node));
    let mut forbidden: Vec<_> =
        used.filter_map(|(_, used)| forbidden_implementation(service, &plugins, used)).collect();
    let urls = infrastructure.webhooks.iter().filter_map(|webhook| webhook.url.as_deref());
    forbidden.extend(urls.filter_map(|url| forbidden_webhook(service, url)));
    refuse(forbidden)
}

fn render_timeout(time_limit: Duration) -> ApiError {
    let text = format!("the nodes could not be rendered within {} s", time_limit.as_secs());
    let error = ApiError::new(http::StatusCode::UNPROCESSABLE_ENTITY, "description.slow", text);
    error.with_help("use fewer kinds of nodes, or simpler templates")
}

/// Returns the problem with an implementation that the operator does not allow over the network; none if it is allowed.
fn forbidden_implementation(
    service: &Service,
    plugins: &[occopus_runtime::PluginInfo],
    used: &Implementation,
) -> Option<FileDiagnostic> {
    let driver = section_type(&used.resource).unwrap_or_default();
    let runs_programs = plugins.iter().any(|plugin| {
        plugin.kind == occopus_runtime::PluginKind::Driver
            && plugin.description.keyword == driver
            && (plugin.description.needs_interfaces.iter().any(|need| need == "process")
                || plugin.granted.interfaces.contains(&Interface::Process))
    });
    if runs_programs && !service.settings.allow_processes {
        let message = format!(
            "the driver `{driver}` runs programs on the machine of the service, which is not allowed over the network"
        );
        let help = "the operator can allow it: `service: {allow_processes: true}` in the configuration";
        return Some(problem(location(used, "/resource/type"), "service.process", message, help));
    }
    let sections = [
        ("/resource/endpoint", Some(&used.resource)),
        ("/config_management/endpoint", used.config_management.as_ref()),
    ];
    sections.into_iter().find_map(|(pointer, section)| {
        forbidden_endpoint(service, section?.get("endpoint")?.as_str()?, location(used, pointer))
    })
}

/// Returns the problem with an endpoint that the operator does not allow; none if it is allowed. The text is compared
/// as written, so a template is never allowed by what it would render to.
fn forbidden_endpoint(service: &Service, endpoint: &str, location: &str) -> Option<FileDiagnostic> {
    let allowed = &service.settings.endpoints;
    if allowed.is_empty() || allowed.iter().any(|allowed| allowed == endpoint) {
        return None;
    }
    let message = format!("the endpoint {endpoint} is not allowed over the network");
    let help = "the operator can allow it: `service: {endpoints: [...]}` in the configuration";
    Some(problem(location, "service.endpoint", message, help))
}

/// Returns the problem with a webhook URL that the operator does not allow; none if it is allowed. URLs on this machine
/// and in private networks must be allowed one by one, since callers may be anywhere.
fn forbidden_webhook(service: &Service, url: &str) -> Option<FileDiagnostic> {
    if service.settings.webhooks.iter().any(|allowed| allowed == url) {
        return None;
    }
    if grants::is_internal(url) {
        let message = format!(
            "the webhook {url} is on the machine of the service or on a private network, which is not allowed over the network"
        );
        let help = "the operator can allow it: `service: {webhooks: [URL]}` in the configuration";
        return Some(problem("", "service.webhook", message, help));
    }
    forbidden_endpoint(service, url, "")
}

/// Returns the source location of a part of an implementation.
fn location<'a>(used: &'a Implementation, pointer: &str) -> &'a str {
    used.lines.get(pointer).unwrap_or(&used.origin)
}

fn problem(location: &str, code: &str, message: String, help: &str) -> FileDiagnostic {
    let location = SourceLocation::parse(location);
    let problem =
        FileDiagnostic { code: code.to_owned(), message, help: Some(help.to_owned()), ..FileDiagnostic::default() };
    problem.relocated(location.map(|location| (location.file.to_owned(), location.line, location.column)))
}

/// Fails with these problems, if there are any.
fn refuse(problems: Vec<FileDiagnostic>) -> Result<(), ApiError> {
    let Some(FileDiagnostic { code, message, .. }) = problems.first().cloned() else { return Ok(()) };
    Err(ApiError::bad_request(&code, message).with_problems(problems))
}

/// Returns the problem of a section that cannot authenticate; none if it can.
fn credentials_problem(found: &Authentication) -> Option<FileDiagnostic> {
    let message = format!("{} of `{}`: {}", found.section, found.node_type, found.problem.as_ref()?);
    let help = "the credentials are managed by the operator of the service";
    Some(problem(&found.origin, "credentials.missing", message, help))
}

/// Returns the warnings of a checked description, in the form of problems.
pub(crate) fn warnings(checked: &CheckedDescription) -> Vec<FileDiagnostic> {
    let warnings = checked.warnings.iter().map(Diagnostic::to_file_diagnostic).chain(checked.doubts.iter().cloned());
    strip_folders(warnings.collect())
}
