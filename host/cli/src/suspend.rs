//! `occopus suspend` and `occopus resume`

use serde_json::json;

use super::args::{Common, Format, Suspend};
use super::failure::Failure;
use super::{print, session};

pub(crate) async fn run(arguments: Suspend, suspend: bool, common: &Common) -> Result<(), Failure> {
    let engine = session::open(common)?.reader().await?;
    let id = &arguments.id.infra_id;
    if suspend {
        engine.suspend(id).await?;
    } else {
        engine.resume(id).await?;
    }
    match arguments.output.format {
        Format::Json => print::json(&json!({"id": id, "suspended": suspend})),
        Format::Text if suspend => print::line(format_args!("{id} is suspended: it runs on, and is not maintained")),
        Format::Text => print::line(format_args!("{id} is maintained again")),
    }
    Ok(())
}
