//! `occopus validate`

use occopus::source_location::SourceLocation;
use occopus::{Authentication, Occopus};
use occopus_model::Infrastructure;
use serde_json::{Value, json};

use super::args::{DescriptionArgs, GlobalArgs, OutputFormat, ValidateArgs};
use super::failure::{ExitStatus, Failure, problems_json, render_diagnostics};
use super::remote::{FileDiagnostic, ServiceClient};
use super::{backend, print};

pub(crate) async fn run(validate: ValidateArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let file = validate.files.description.display().to_string();
    let (infrastructure, warnings) = match backend::open_backend(common)? {
        backend::Backend::Local(occopus) => run_local(&occopus, validate.files, validate.strict).await?,
        backend::Backend::Service(service) => run_on_service(&service, validate.files, validate.strict).await?,
    };
    match validate.output.format {
        OutputFormat::Json => print::json(&json!({
            "valid": true,
            "name": infrastructure.name,
            "nodes": infrastructure.nodes,
            "warnings": warnings,
        })),
        OutputFormat::Text => {
            let instances: u64 = infrastructure.nodes.iter().map(|node| u64::from(node.scaling.min)).sum();
            let nodes = infrastructure.nodes.len();
            print::line(format_args!(
                "{file} is valid: {}, {}, {}",
                infrastructure.name,
                pluralize(nodes as u64, "node"),
                pluralize(instances, "instance"),
            ));
        }
    }
    Ok(())
}

async fn run_local(
    occopus: &Occopus,
    files: DescriptionArgs,
    strict: bool,
) -> Result<(Infrastructure, Vec<Value>), Failure> {
    let compiled = backend::compile_deployable(occopus, files).await?;
    let of_credentials = occopus.check_credentials().await?;
    backend::print_warnings(&of_credentials);
    let mut warnings = problems_json(&compiled.warnings);
    warnings.extend(problems_json(&of_credentials));
    let previews = backend::rehearse(occopus, None, &compiled.infrastructure).await?;
    warnings.extend(backend::preview_warnings(&previews).iter().map(FileDiagnostic::to_json));
    // Files are checked where nobody has the credentials, too.
    let found = occopus.authentications(&compiled.infrastructure, &previews).await?;
    let missing: Vec<_> = found.iter().filter_map(|found| credentials_warning(occopus, found)).collect();
    if !missing.is_empty() {
        print::note(render_diagnostics(&missing).trim_end());
    }
    warnings.extend(missing.iter().map(FileDiagnostic::to_json));
    enforce_strict(&warnings, strict)?;
    Ok((compiled.infrastructure, warnings))
}

/// The warning of a section that can't authenticate.
fn credentials_warning(occopus: &Occopus, found: &Authentication) -> Option<FileDiagnostic> {
    let place = SourceLocation::parse(&found.origin);
    Some(FileDiagnostic {
        severity: "warning".to_owned(),
        code: "credentials.missing".to_owned(),
        message: format!("{} of `{}`: {}", found.section, found.node_type, found.problem.as_ref()?),
        file: place.map(|place| place.file.to_owned()),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        help: Some(backend::credential_sources_help(occopus)),
    })
}

/// The files are checked here, and the service checks what only it can.
async fn run_on_service(
    service: &ServiceClient,
    files: DescriptionArgs,
    strict: bool,
) -> Result<(Infrastructure, Vec<Value>), Failure> {
    let posted = service.compile(files).await?;
    let told = service.validate(&posted.text).await.map_err(|failure| posted.relocate_failure(failure))?;
    let news = posted.service_warnings(told);
    if !news.is_empty() {
        print::note(render_diagnostics(&news).trim_end());
    }
    let mut warnings = problems_json(&posted.compiled.warnings);
    warnings.extend(news.iter().map(FileDiagnostic::to_json));
    enforce_strict(&warnings, strict)?;
    Ok((posted.compiled.infrastructure, warnings))
}

fn enforce_strict(warnings: &[Value], strict: bool) -> Result<(), Failure> {
    if !strict || warnings.is_empty() {
        return Ok(());
    }
    let number = pluralize(warnings.len() as u64, "warning");
    let text = format_args!("{number}, and with --strict none is allowed");
    Err(Failure::new(ExitStatus::Invalid, "files.warnings", text))
}

fn pluralize(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
