//! `occopus suspend` and `occopus resume`

use serde_json::json;

use super::args::{GlobalArgs, OutputFormat, SuspendArgs};
use super::backend::Backend;
use super::failure::Failure;
use super::{backend, print};

pub(crate) async fn run(arguments: SuspendArgs, suspend: bool, common: &GlobalArgs) -> Result<(), Failure> {
    let id = &arguments.id.parse()?;
    match backend::open_backend(common)? {
        Backend::Local(occopus) if suspend => occopus.reader().await?.suspend(id).await?,
        Backend::Local(occopus) => occopus.reader().await?.resume(id).await?,
        Backend::Service(service) => service.post_action(id, if suspend { "suspend" } else { "resume" }).await?,
    }
    match arguments.output.format {
        OutputFormat::Json => print::json(&json!({"id": id, "suspended": suspend})),
        OutputFormat::Text if suspend => {
            print::line(format_args!("{id} is suspended: it keeps running, but is not maintained"))
        }
        OutputFormat::Text => print::line(format_args!("{id} is maintained again")),
    }
    Ok(())
}
