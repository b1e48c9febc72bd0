//! `occopus import`

use serde_json::json;

use super::args::{Common, Format, Import};
use super::failure::Failure;
use super::{print, session};

pub(crate) async fn run(import: Import, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let (definitions, warnings) = occopus.read_definitions(import.files).await?;
    session::warn(&warnings);
    occopus.reader().await?.save_definitions(&definitions).await?;
    let names: Vec<_> = definitions.keys().map(String::as_str).collect();
    match import.output.format {
        Format::Json => print::json(&json!({ "imported": names })),
        Format::Text => print::line(format_args!("Successfully imported nodes: {}", names.join(", "))),
    }
    Ok(())
}
