//! `occopus validate`

use occopus::source_location::SourceLocation;
use occopus::{Authentication, Occopus, Purpose, Step};
use occopus_api::{FileDiagnostic, FileSeverity};
use occopus_model::{Diagnostic, Diagnostics, Infrastructure};
use serde_json::json;

use super::args::{DescriptionArgs, GlobalArgs, OutputFormat, ValidateArgs};
use super::failure::{Failure, render_diagnostics};
use super::remote::ServiceClient;
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
) -> Result<(Infrastructure, Vec<FileDiagnostic>), Failure> {
    let preparation = backend::prepare_description(occopus, files, Purpose::DryRun, None, Step::Authenticate).await?;
    let mut warnings = file_diagnostics(preparation.warnings());
    warnings.extend(file_diagnostics(preparation.credential_warnings()));
    warnings.extend(backend::preview_warnings(preparation.previews()));
    // Missing credentials are warnings: files are also checked where no credentials are.
    let found = preparation.authentications().iter();
    let missing: Vec<_> = found.filter_map(|found| credentials_warning(occopus, found)).collect();
    if !missing.is_empty() {
        print::note(render_diagnostics(&missing).trim_end());
    }
    warnings.extend(missing);
    enforce_strict(&warnings, strict)?;
    Ok((preparation.into_parts().0, warnings))
}

/// Returns the warning of a section that cannot authenticate.
fn credentials_warning(occopus: &Occopus, found: &Authentication) -> Option<FileDiagnostic> {
    let location = SourceLocation::parse(&found.origin);
    let warning = FileDiagnostic {
        severity: FileSeverity::Warning,
        code: "credentials.missing".to_owned(),
        message: format!("{} of `{}`: {}", found.section, found.node_type, found.problem.as_ref()?),
        help: Some(backend::credential_sources_help(occopus)),
        ..FileDiagnostic::default()
    };
    Some(warning.relocated(location.map(|location| (location.file.to_owned(), location.line, location.column))))
}

/// Checks the files on this machine, and lets the service check the rest.
async fn run_on_service(
    service: &ServiceClient,
    files: DescriptionArgs,
    strict: bool,
) -> Result<(Infrastructure, Vec<FileDiagnostic>), Failure> {
    let posted = service.compile(files).await?;
    let warnings = service.validate(&posted.text).await.map_err(|failure| posted.relocate_failure(failure))?;
    let new = posted.service_warnings(warnings);
    if !new.is_empty() {
        print::note(render_diagnostics(&new).trim_end());
    }
    let mut warnings = file_diagnostics(&posted.compiled.warnings);
    warnings.extend(new);
    enforce_strict(&warnings, strict)?;
    Ok((posted.compiled.infrastructure, warnings))
}

fn file_diagnostics(diagnostics: &Diagnostics) -> Vec<FileDiagnostic> {
    diagnostics.iter().map(Diagnostic::to_file_diagnostic).collect()
}

fn enforce_strict(warnings: &[FileDiagnostic], strict: bool) -> Result<(), Failure> {
    if !strict || warnings.is_empty() {
        return Ok(());
    }
    let number = pluralize(warnings.len() as u64, "warning");
    let text = format_args!("{number}, and `--strict` allows none");
    Err(Failure::new("files.warnings", text))
}

fn pluralize(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
