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

use super::args::{AttachArgs, DetachArgs, GlobalArgs, OutputFormat};
use super::backend::Backend;
use super::failure::{ExitStatus, Failure};
use super::{backend, print};

/// Between two looks at whether it has happened.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The background process owns the infrastructure by then.
const OWNERSHIP_TIMEOUT: Duration = Duration::from_secs(60);

/// Lets the infrastructure be maintained, from now on.
pub(crate) async fn attach(attach: AttachArgs, common: &GlobalArgs) -> Result<(), Failure> {
    match backend::open_backend(common)? {
        Backend::Local(occopus) => attach_here(attach, &occopus, common).await,
        Backend::Service(service) => {
            let id = &attach.id.infra_id;
            service.post_action(id, "attach").await?;
            match attach.output.format {
                OutputFormat::Json => print::json(&json!({"id": id, "attached": true})),
                OutputFormat::Text => print::line(format_args!("the service maintains {id}, at intervals of its own")),
            }
            Ok(())
        }
    }
}

/// Starts `maintain --cyclic` as a process of its own, and waits until it owns the infrastructure.
async fn attach_here(attach: AttachArgs, occopus: &Occopus, common: &GlobalArgs) -> Result<(), Failure> {
    let engine = occopus.reader().await?;
    let id = &attach.id.infra_id;
    if let Some(Owner { holder, since }) = engine.status(id, false).await?.owner {
        return Err(EngineError::Owned { id: id.clone(), holder, since }.into());
    }
    let folder = occopus.directories().data.join("attached");
    let log = folder.join(format!("{id}.log"));
    let failed = |error: std::io::Error| {
        let text = format!("the process in the background could not be started: {error}");
        Failure::new(ExitStatus::Failed, "attach.failed", text)
    };
    files::create_private_dir(&folder).map_err(failed)?;
    let mut child = spawn_maintainer(id, attach.interval, common, &log).map_err(failed)?;
    let pid = child.id();
    for _ in 0..OWNERSHIP_TIMEOUT.as_millis() / POLL_INTERVAL.as_millis() {
        tokio::time::sleep(POLL_INTERVAL).await;
        if let Some(ended) = child.try_wait().map_err(failed)? {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let text = format!("the process in the background ended ({ended}):\n{}", said.trim_end());
            return Err(Failure::new(ExitStatus::Failed, "attach.failed", text));
        }
        if current_holder(&engine, id).await?.is_some_and(|owner| owner.starts_with(&format!("process {pid} "))) {
            match attach.output.format {
                OutputFormat::Json => print::json(&json!({"id": id, "process": pid, "log": log})),
                OutputFormat::Text => {
                    print::line(format_args!("process {pid} maintains {id}; it writes to {}", log.display()));
                }
            }
            return Ok(());
        }
    }
    let text = format!("process {pid} was started and does not own {id} yet; it writes to {}", log.display());
    Err(Failure::new(ExitStatus::Failed, "attach.slow", text))
}

/// Ctrl-C and the end of the terminal are not meant for it.
fn spawn_maintainer(id: &str, interval: Duration, common: &GlobalArgs, log: &Path) -> std::io::Result<Child> {
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
pub(crate) async fn detach(detach: DetachArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let id = &detach.id.infra_id;
    let asked = match backend::open_backend(common)? {
        Backend::Local(occopus) => detach_here(id, &occopus).await?,
        Backend::Service(service) => {
            service.post_action(id, "detach").await?;
            true
        }
    };
    match detach.output.format {
        OutputFormat::Json => print::json(&json!({"id": id, "detached": asked})),
        OutputFormat::Text if asked => print::line(format_args!("{id} is not maintained any more; it runs on")),
        OutputFormat::Text => print::line(format_args!("nobody maintains {id}")),
    }
    Ok(())
}

/// Asks, and waits until nobody owns it. False when nobody did.
async fn detach_here(id: &str, occopus: &Occopus) -> Result<bool, Failure> {
    let engine = occopus.reader().await?;
    let before = current_holder(&engine, id).await?;
    let asked = engine.detach(id).await?;
    if asked {
        print::note("asked; it stops after what is under way");
    }
    while asked && current_holder(&engine, id).await? == before {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(asked)
}

async fn current_holder(engine: &Engine, id: &str) -> Result<Option<String>, Failure> {
    Ok(engine.status(id, false).await?.owner.map(|owner| owner.holder))
}
