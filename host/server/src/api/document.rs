//! A description that was posted: everything that can be known of it before anything is done. No file is read for it, no
//! program is run, and no cloud is asked.

use std::time::Duration;

use occopus::source_location::SourceLocation;
use occopus::{needs_of_description, rehearse};
use occopus_engine::Preview;
use occopus_model::{Diagnostics, Implementation, Infrastructure};
use occopus_runtime::grants::{self, Interface};
use serde_json::{Value, json};

use crate::access::{Caller, Scope};
use crate::problem::{ApiError, POSTED_DOCUMENT, strip_folders};
use crate::state::Service;

/// Time for which a description is rendered for somebody who only looks.
const READER_RENDER_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for somebody who may build it. Requests have an end.
const OPERATOR_RENDER_TIMEOUT: Duration = Duration::from_secs(100);

/// A description that can be deployed.
pub(crate) struct CheckedDescription {
    pub(crate) infrastructure: Infrastructure,
    pub(crate) warnings: Diagnostics,
    /// Doubtful things in what nodes would get, as problems.
    pub(crate) doubts: Vec<Value>,
}

/// Checks a document, as the description of the infrastructure with this id.
pub(crate) async fn check(
    service: &Service,
    caller: &Caller,
    id: Option<&str>,
    text: String,
) -> Result<CheckedDescription, ApiError> {
    // Descriptions can be large, and their templates slow. Others wait.
    let turn = service.scheduler.acquire(caller).await;
    // In a task of its own: it is worked on to its end, and the turn is over then, also when nobody waits for it any more.
    let (occopus, document) = (service.occopus.clone(), text.clone());
    let compiling = tokio::spawn(async move { (occopus.compile_document(POSTED_DOCUMENT, document).await, turn) });
    let (compiled, _turn) = match compiling.await {
        Ok((compiled, turn)) => (compiled?, turn),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let infrastructure = compiled.infrastructure;
    let plugins = service.plugins().await?;
    let used = infrastructure.nodes.iter().flat_map(|node| infrastructure.candidates(node));
    let mut refused: Vec<_> = used.filter_map(|(_, used)| forbidden_implementation(service, &plugins, used)).collect();
    let urls = infrastructure.webhooks.iter().filter_map(|webhook| webhook.url.as_deref());
    refused.extend(urls.filter_map(|url| forbidden_webhook(service, url)));
    if !refused.is_empty() {
        return Err(bad_description(refused));
    }
    service.engine.check(&infrastructure)?;
    service.occopus.credentials().await?;
    service.occopus.preload(needs_of_description(&infrastructure), |_| {}).await?;
    let known = match id {
        Some(id) if service.engine.exists(id).await? => Some(id),
        _ => None,
    };
    let most = if caller.scope == Scope::Read { READER_RENDER_TIMEOUT } else { OPERATOR_RENDER_TIMEOUT };
    let rehearsed = tokio::time::timeout(most, rehearse(&service.engine, known, &infrastructure)).await;
    let (previews, failures) = rehearsed.map_err(|_| render_timeout(most))??;
    if !failures.is_empty() {
        return Err(ApiError::failed_nodes(&failures, &text));
    }
    // What was allowed as it is written is what there is when it is rendered.
    let rendered = previews.iter().filter_map(|preview| {
        let endpoint = preview.resource.get("endpoint")?.as_str()?;
        forbidden_endpoint(service, endpoint, &preview.origin)
    });
    let refused: Vec<_> = rendered.collect();
    if !refused.is_empty() {
        return Err(bad_description(refused));
    }
    check_credentials(service, &infrastructure, &previews).await?;
    let doubts = occopus::source_location::preview_warnings(&previews, &|place| {
        (place.file == POSTED_DOCUMENT).then(|| text.clone())
    });
    Ok(CheckedDescription { infrastructure, warnings: compiled.warnings, doubts })
}

fn render_timeout(most: Duration) -> ApiError {
    let text = format!("what the nodes would get could not be rendered within {} s", most.as_secs());
    let problem = ApiError::new(http::StatusCode::UNPROCESSABLE_ENTITY, "description.slow", text);
    problem.with_help("its templates take too long; describe fewer kinds of nodes, or simpler templates")
}

/// What the operator does not allow to come over the network.
fn forbidden_implementation(
    service: &Service,
    plugins: &[occopus_runtime::PluginInfo],
    used: &Implementation,
) -> Option<Value> {
    let driver = used.resource.get("type").and_then(Value::as_str).unwrap_or_default();
    let runs_programs = plugins.iter().any(|plugin| {
        plugin.kind == occopus_runtime::Kind::Driver
            && plugin.description.keyword == driver
            && (plugin.description.needs_interfaces.iter().any(|need| need == "process")
                || plugin.granted.interfaces.contains(&Interface::Process))
    });
    if runs_programs && !service.settings.allow_processes {
        let message = format!(
            "the driver `{driver}` runs programs on the machine of the service, and nothing that comes over the network may"
        );
        let help = "the operator can allow it: `service: {allow_processes: true}` in the configuration";
        return Some(problem_json(location(used, "/resource/type"), "service.process", &message, help));
    }
    let sections = [
        ("/resource/endpoint", Some(&used.resource)),
        ("/config_management/endpoint", used.config_management.as_ref()),
    ];
    sections.into_iter().find_map(|(pointer, section)| {
        forbidden_endpoint(service, section?.get("endpoint")?.as_str()?, location(used, pointer))
    })
}

/// An endpoint that the operator does not allow to be named. A template is never one that is allowed, so nothing gets in by what
/// it would become.
fn forbidden_endpoint(service: &Service, endpoint: &str, place: &str) -> Option<Value> {
    let allowed = &service.settings.endpoints;
    if allowed.is_empty() || allowed.iter().any(|allowed| allowed == endpoint) {
        return None;
    }
    let message = format!("the endpoint {endpoint} is none of those that may be named over the network");
    let help = "the operator can allow it: `service: {endpoints: [...]}` in the configuration";
    Some(problem_json(place, "service.endpoint", &message, help))
}

/// A URL that the operator does not allow a webhook to have. Those of this machine and of private networks must be named one by
/// one: whoever sends a description may be anywhere.
fn forbidden_webhook(service: &Service, url: &str) -> Option<Value> {
    if service.settings.webhooks.iter().any(|allowed| allowed == url) {
        return None;
    }
    if grants::is_internal(url) {
        let message = format!(
            "the webhook {url} is on the machine of the service or on a private network, and came over the network"
        );
        let help = "the operator can allow it: `service: {webhooks: [URL]}` in the configuration";
        return Some(problem_json("", "service.webhook", &message, help));
    }
    forbidden_endpoint(service, url, "")
}

/// Where something of an implementation stands.
fn location<'a>(used: &'a Implementation, pointer: &str) -> &'a str {
    used.lines.get(pointer).unwrap_or(&used.origin)
}

fn problem_json(place: &str, code: &str, message: &str, help: &str) -> Value {
    let place = SourceLocation::parse(place);
    json!({
        "severity": "error",
        "code": code,
        "message": message,
        "file": place.map(|place| place.file),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "end_line": null,
        "end_column": null,
        "help": help,
    })
}

fn bad_description(problems: Vec<Value>) -> ApiError {
    let first = problems.first();
    let text = |key: &str| first.and_then(|first| first[key].as_str()).unwrap_or_default().to_owned();
    let (code, message) = (text("code"), text("message"));
    ApiError::bad_request(&code, message).with_problems(problems)
}

/// Refuses what has no credentials.
async fn check_credentials(
    service: &Service,
    infrastructure: &Infrastructure,
    previews: &[Preview],
) -> Result<(), ApiError> {
    let found = service.occopus.authentications(infrastructure, previews).await?;
    let problems: Vec<_> = found
        .iter()
        .filter_map(|found| {
            let message = format!("{} of `{}`: {}", found.section, found.node_type, found.problem.as_ref()?);
            let help = "the operator of the service has its credentials";
            Some(problem_json(&found.origin, "credentials.missing", &message, help))
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(bad_description(problems)) }
}

/// Problems that are none, for whoever wants to know.
pub(crate) fn warnings(checked: &CheckedDescription) -> Vec<Value> {
    let warnings =
        checked.warnings.iter().map(occopus_model::Diagnostic::to_json).chain(checked.doubts.iter().cloned());
    strip_folders(warnings.collect())
}
