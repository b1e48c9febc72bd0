//! `occopus suspend` and `occopus resume`

use serde_json::json;

use super::args::{Common, Format, Suspend};
use super::failure::Failure;
use super::session::Place;
use super::{print, session};

pub(crate) async fn run(arguments: Suspend, suspend: bool, common: &Common) -> Result<(), Failure> {
    let id = &arguments.id.infra_id;
    match session::place(common)? {
        Place::Here(occopus) if suspend => occopus.reader().await?.suspend(id).await?,
        Place::Here(occopus) => occopus.reader().await?.resume(id).await?,
        Place::Service(service) => service.tell(id, if suspend { "suspend" } else { "resume" }).await?,
    }
    match arguments.output.format {
        Format::Json => print::json(&json!({"id": id, "suspended": suspend})),
        Format::Text if suspend => print::line(format_args!("{id} is suspended: it runs on, and is not maintained")),
        Format::Text => print::line(format_args!("{id} is maintained again")),
    }
    Ok(())
}
