//! `occopus import`

use serde_json::json;

use super::args::{GlobalArgs, ImportArgs, OutputFormat};
use super::backend::Backend;
use super::failure::Failure;
use super::remote;
use super::{backend, print};

pub(crate) async fn run(import: ImportArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let names = match backend::open_backend(common)? {
        Backend::Local(occopus) => {
            let (definitions, warnings) = occopus.read_definitions(import.files).await?;
            backend::print_warnings(&warnings);
            occopus.reader().await?.save_definitions(&definitions).await?;
            definitions.into_keys().collect()
        }
        Backend::Service(service) => {
            let document = service.read_definitions(import.files).await?;
            service.import(&document).await.map_err(remote::without_locations)?
        }
    };
    match import.output.format {
        OutputFormat::Json => print::json(&json!({ "imported": names })),
        OutputFormat::Text => print::line(format_args!("Successfully imported nodes: {}", names.join(", "))),
    }
    Ok(())
}
