//! `occopus build`

use jiff::Timestamp;
use occopus::needs_of_description;
use occopus_engine::{BuildRequest, OnFailure};
use uuid::Uuid;

use super::args::{self, Build, Common, Format};
use super::failure::Failure;
use super::report::{Live, of_status};
use super::{print, session};

pub(crate) async fn run(build: Build, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let infrastructure = session::compile(&occopus, build.files).await?.infrastructure;
    let engine = occopus.engine().await?;
    engine.check(&infrastructure)?;
    session::prepare(&occopus, needs_of_description(&infrastructure)).await?;
    let previews = session::rehearse(&occopus, build.infra_id.as_deref(), &infrastructure).await?;
    session::credentials_for(&occopus, &infrastructure, &previews).await?;

    let id = build.infra_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    // Early, for those who interrupt it.
    print::note(format_args!("infrastructure id: {id}"));
    let live = Live::of_description(&infrastructure, print::colours_on_stderr());
    let on_failure = match build.on_failure {
        args::OnFailure::Rollback => OnFailure::Rollback,
        args::OnFailure::Keep => OnFailure::Keep,
    };
    let request = BuildRequest { id: Some(id.clone()), infrastructure, on_failure };
    let first = "stopping; what this run made is removed (once more: stop at once)";
    let status = session::watch(&id, live, first, async |run| engine.build(request, run).await).await?;

    match build.output.format {
        Format::Json => print::json(&status),
        Format::Text => {
            for line in of_status(&status, Timestamp::now(), print::colours_on_stdout()) {
                print::line(line);
            }
            print::line(&status.id);
        }
    }
    Ok(())
}
