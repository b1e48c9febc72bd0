//! `occopus validate`

use serde_json::json;

use super::args::{Common, Format, Validate};
use super::failure::{Exit, Failure, problems_json};
use super::{print, session};

pub(crate) async fn run(validate: Validate, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let file = validate.files.description.display().to_string();
    let compiled = session::compile(&occopus, validate.files).await?;
    let infrastructure = &compiled.infrastructure;
    if validate.strict && !compiled.warnings.is_empty() {
        let number = count(compiled.warnings.len() as u64, "warning");
        return Err(Failure::new(
            Exit::Invalid,
            "files.warnings",
            format_args!("{number}, and with --strict none is allowed"),
        ));
    }
    session::rehearse(&occopus, None, infrastructure).await?;
    match validate.output.format {
        Format::Json => print::json(&json!({
            "valid": true,
            "name": infrastructure.name,
            "nodes": infrastructure.nodes,
            "warnings": problems_json(&compiled.warnings),
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

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
