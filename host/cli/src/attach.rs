//! `occopus attach` and `occopus detach`

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use occopus::Occopus;
use occopus_engine::{Engine, EngineError, Owner};
use occopus_model::files;
use serde_json::json;

use super::args::{Attach, Common, Detach, Format};
use super::failure::{Exit, Failure};
use super::session::Place;
use super::{print, session};

/// Between two looks at whether it has happened.
const POLL: Duration = Duration::from_millis(100);
/// The background process owns the infrastructure by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the infrastructure be maintained, from now on.
pub(crate) async fn attach(attach: Attach, common: &Common) -> Result<(), Failure> {
    match session::place(common)? {
        Place::Here(occopus) => attach_here(attach, &occopus, common).await,
        Place::Service(service) => {
            let id = &attach.id.infra_id;
            service.tell(id, "attach").await?;
            match attach.output.format {
                Format::Json => print::json(&json!({"id": id, "attached": true})),
                Format::Text => print::line(format_args!("the service maintains {id}, at intervals of its own")),
            }
            Ok(())
        }
    }
}

/// Starts `maintain --cyclic` as a process of its own, and waits until it owns the infrastructure.
async fn attach_here(attach: Attach, occopus: &Occopus, common: &Common) -> Result<(), Failure> {
    let engine = occopus.reader().await?;
    let id = &attach.id.infra_id;
    if let Some(Owner { holder, since }) = engine.status(id, false).await?.owner {
        return Err(EngineError::Owned { id: id.clone(), holder, since }.into());
    }
    let folder = occopus.places().data.join("attached");
    let log = folder.join(format!("{id}.log"));
    let failed = |error: std::io::Error| {
        let text = format!("the process in the background could not be started: {error}");
        Failure::new(Exit::Failed, "attach.failed", text)
    };
    files::private_folder(&folder).map_err(failed)?;
    let mut child = start(id, attach.interval, common, &log).map_err(failed)?;
    let pid = child.id();
    for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
        tokio::time::sleep(POLL).await;
        if let Some(ended) = child.try_wait().map_err(failed)? {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let text = format!("the process in the background ended ({ended}):\n{}", said.trim_end());
            return Err(Failure::new(Exit::Failed, "attach.failed", text));
        }
        if owner(&engine, id).await?.is_some_and(|owner| owner.starts_with(&format!("process {pid} "))) {
            match attach.output.format {
                Format::Json => print::json(&json!({"id": id, "process": pid, "log": log})),
                Format::Text => {
                    print::line(format_args!("process {pid} maintains {id}; it writes to {}", log.display()));
                }
            }
            return Ok(());
        }
    }
    let text = format!("process {pid} was started and does not own {id} yet; it writes to {}", log.display());
    Err(Failure::new(Exit::Failed, "attach.slow", text))
}

/// Ctrl-C and the end of the terminal are not meant for it.
fn start(id: &str, interval: Duration, common: &Common, log: &Path) -> std::io::Result<Child> {
    let output = File::create(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["maintain", "--cyclic", "--infraid", id, "--interval", &interval.as_secs_f64().to_string()]);
    for (option, path) in [("--cfg", &common.cfg), ("--auth_data_path", &common.auth_data_path)] {
        if let Some(path) = path {
            command.arg(option).arg(std::path::absolute(path)?);
        }
    }
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0).spawn()
}

/// Lets whoever maintains it stop.
pub(crate) async fn detach(detach: Detach, common: &Common) -> Result<(), Failure> {
    let id = &detach.id.infra_id;
    let asked = match session::place(common)? {
        Place::Here(occopus) => detach_here(id, &occopus).await?,
        Place::Service(service) => {
            service.tell(id, "detach").await?;
            true
        }
    };
    match detach.output.format {
        Format::Json => print::json(&json!({"id": id, "detached": asked})),
        Format::Text if asked => print::line(format_args!("{id} is not maintained any more; it runs on")),
        Format::Text => print::line(format_args!("nobody maintains {id}")),
    }
    Ok(())
}

/// Asks, and waits until nobody owns it. False when nobody did.
async fn detach_here(id: &str, occopus: &Occopus) -> Result<bool, Failure> {
    let engine = occopus.reader().await?;
    let before = owner(&engine, id).await?;
    let asked = engine.detach(id).await?;
    if asked {
        print::note("asked; it stops after what is under way");
    }
    while asked && owner(&engine, id).await? == before {
        tokio::time::sleep(POLL).await;
    }
    Ok(asked)
}

async fn owner(engine: &Engine, id: &str) -> Result<Option<String>, Failure> {
    Ok(engine.status(id, false).await?.owner.map(|owner| owner.holder))
}
