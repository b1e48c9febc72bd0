//! `occopus validate`

use occopus::source::Place;
use occopus::{Authentication, Occopus};
use occopus_model::Infrastructure;
use serde_json::{Value, json};

use super::args::{Common, Files, Format, Validate};
use super::failure::{Exit, Failure, problems_json, render_told};
use super::remote::{Service, Told};
use super::{print, session};

pub(crate) async fn run(validate: Validate, common: &Common) -> Result<(), Failure> {
    let file = validate.files.description.display().to_string();
    let (infrastructure, warnings) = match session::place(common)? {
        session::Place::Here(occopus) => here(&occopus, validate.files, validate.strict).await?,
        session::Place::Service(service) => there(&service, validate.files, validate.strict).await?,
    };
    match validate.output.format {
        Format::Json => print::json(&json!({
            "valid": true,
            "name": infrastructure.name,
            "nodes": infrastructure.nodes,
            "warnings": warnings,
        })),
        Format::Text => {
            let instances: u64 = infrastructure.nodes.iter().map(|node| u64::from(node.scaling.min)).sum();
            let nodes = infrastructure.nodes.len();
            print::line(format_args!(
                "{file} is valid: {}, {}, {}",
                infrastructure.name,
                count(nodes as u64, "node"),
                count(instances, "instance"),
            ));
        }
    }
    Ok(())
}

async fn here(occopus: &Occopus, files: Files, strict: bool) -> Result<(Infrastructure, Vec<Value>), Failure> {
    let compiled = session::compile_to_build(occopus, files).await?;
    let of_credentials = occopus.look_at_credentials().await?;
    session::warn(&of_credentials);
    let mut warnings = problems_json(&compiled.warnings);
    warnings.extend(problems_json(&of_credentials));
    let previews = session::rehearse(occopus, None, &compiled.infrastructure).await?;
    warnings.extend(session::doubts(&previews).iter().map(Told::to_json));
    // Files are checked where nobody has the credentials, too.
    let found = occopus.authentications(&compiled.infrastructure, &previews).await?;
    let missing: Vec<_> = found.iter().filter_map(|found| missing(occopus, found)).collect();
    if !missing.is_empty() {
        print::note(render_told(&missing).trim_end());
    }
    warnings.extend(missing.iter().map(Told::to_json));
    allow(&warnings, strict)?;
    Ok((compiled.infrastructure, warnings))
}

/// The warning of a section that can't authenticate.
fn missing(occopus: &Occopus, found: &Authentication) -> Option<Told> {
    let place = Place::parse(&found.origin);
    Some(Told {
        severity: "warning".to_owned(),
        code: "credentials.missing".to_owned(),
        message: format!("{} of `{}`: {}", found.section, found.node_type, found.problem.as_ref()?),
        file: place.map(|place| place.file.to_owned()),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        help: Some(session::where_from(occopus)),
    })
}

/// The files are checked here, and the service checks what only it can.
async fn there(service: &Service, files: Files, strict: bool) -> Result<(Infrastructure, Vec<Value>), Failure> {
    let posted = service.compile(files).await?;
    let told = service.validate(&posted.text).await.map_err(|failure| posted.explain(failure))?;
    let news = posted.news(told);
    if !news.is_empty() {
        print::note(render_told(&news).trim_end());
    }
    let mut warnings = problems_json(&posted.compiled.warnings);
    warnings.extend(news.iter().map(Told::to_json));
    allow(&warnings, strict)?;
    Ok((posted.compiled.infrastructure, warnings))
}

fn allow(warnings: &[Value], strict: bool) -> Result<(), Failure> {
    if !strict || warnings.is_empty() {
        return Ok(());
    }
    let number = count(warnings.len() as u64, "warning");
    let text = format_args!("{number}, and with --strict none is allowed");
    Err(Failure::new(Exit::Invalid, "files.warnings", text))
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
