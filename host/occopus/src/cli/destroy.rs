//! `occopus destroy`

use occopus::needs_of_status;

use super::args::{Common, Destroy, Format};
use super::failure::Failure;
use super::report::Live;
use super::{print, session};

pub(crate) async fn run(destroy: Destroy, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let engine = occopus.engine().await?;
    let id = destroy.id.infra_id;
    let before = engine.status(&id, false).await?;
    session::prepare(&occopus, needs_of_status(&before)).await?;
    let live = Live::of_status("removing", &before, print::colours_on_stderr());
    let first = "stopping after what is under way (once more: stop at once)";
    let report = session::watch(&id, live, first, async |run| engine.destroy(&id, run).await).await?;
    if !report.left.is_empty() {
        return Err(Failure::Left(id, report.left));
    }
    match destroy.output.format {
        Format::Json => print::json(&report),
        Format::Text => print::line(format_args!("{id} is destroyed: nothing is left of it")),
    }
    Ok(())
}
