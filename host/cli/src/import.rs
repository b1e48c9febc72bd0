//! `occopus import`

use serde_json::json;

use super::args::{Common, Format, Import};
use super::failure::Failure;
use super::remote;
use super::session::Place;
use super::{print, session};

pub(crate) async fn run(import: Import, common: &Common) -> Result<(), Failure> {
    let names = match session::place(common)? {
        Place::Here(occopus) => {
            let (definitions, warnings) = occopus.read_definitions(import.files).await?;
            session::warn(&warnings);
            occopus.reader().await?.save_definitions(&definitions).await?;
            definitions.into_keys().collect()
        }
        Place::Service(service) => {
            let document = service.read_definitions(import.files).await?;
            service.import(&document).await.map_err(remote::without_places)?
        }
    };
    match import.output.format {
        Format::Json => print::json(&json!({ "imported": names })),
        Format::Text => print::line(format_args!("Successfully imported nodes: {}", names.join(", "))),
    }
    Ok(())
}
