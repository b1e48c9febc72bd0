//! `occopus attach` and `occopus detach`

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use occopus::Occopus;
use occopus_engine::{Engine, EngineError, InfrastructureId};
use occopus_model::files;
use serde_json::json;

use super::args::{AttachArgs, DetachArgs, GlobalArgs, OutputFormat};
use super::backend::Backend;
use super::failure::Failure;
use super::{backend, print};

/// Pause between two checks of the owner.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time until the background process has to own the infrastructure.
const OWNERSHIP_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts the maintenance of an infrastructure: by a service, or by a background process.
pub(crate) async fn attach(attach: AttachArgs, common: &GlobalArgs) -> Result<(), Failure> {
    match backend::open_backend(common)? {
        Backend::Local(occopus) => attach_here(attach, &occopus, common).await,
        Backend::Service(service) => {
            let id = &attach.id.parse()?;
            service.post_action(id, "attach").await?;
            match attach.output.format {
                OutputFormat::Json => print::json(&json!({"id": id, "attached": true})),
                OutputFormat::Text => print::line(format_args!("the service maintains {id} at its own interval")),
            }
            Ok(())
        }
    }
}

/// Starts `maintain --cyclic` as a background process, and waits until it owns the infrastructure.
async fn attach_here(attach: AttachArgs, occopus: &Occopus, common: &GlobalArgs) -> Result<(), Failure> {
    let engine = occopus.reader().await?;
    let id = &attach.id.parse()?;
    if let Some(owner) = engine.status(id, false).await?.owner {
        return Err(EngineError::owned(id, owner).into());
    }
    let folder = occopus.directories().data.join("attached");
    let log = folder.join(format!("{id}.log"));
    let failed = |error: std::io::Error| {
        let text = format!("cannot start the background process: {error}");
        Failure::new("attach.failed", text)
    };
    files::create_private_dir(&folder).map_err(failed)?;
    let mut child = spawn_maintainer(id, attach.interval, common, &log).map_err(failed)?;
    let pid = child.id();
    for _ in 0..OWNERSHIP_TIMEOUT.as_millis() / POLL_INTERVAL.as_millis() {
        tokio::time::sleep(POLL_INTERVAL).await;
        if let Some(status) = child.try_wait().map_err(failed)? {
            let output = fs::read_to_string(&log).unwrap_or_default();
            let text = format!("the background process ended ({status}):\n{}", output.trim_end());
            return Err(Failure::new("attach.failed", text));
        }
        if current_holder(&engine, id).await?.is_some_and(|owner| owner.starts_with(&format!("process {pid} "))) {
            match attach.output.format {
                OutputFormat::Json => print::json(&json!({"id": id, "process": pid, "log": log})),
                OutputFormat::Text => {
                    print::line(format_args!("process {pid} maintains {id}; its log is {}", log.display()));
                }
            }
            return Ok(());
        }
    }
    let text = format!("process {pid} was started, but does not own {id} yet; its log is {}", log.display());
    Err(Failure::new("attach.slow", text))
}

/// Spawns the background process, in a process group of its own: Ctrl-C and the end of the terminal do not reach it.
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

/// Requests the owner of an infrastructure to stop its maintenance.
pub(crate) async fn detach(detach: DetachArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let id = &detach.id.parse()?;
    let has_owner = match backend::open_backend(common)? {
        Backend::Local(occopus) => detach_here(id, &occopus).await?,
        Backend::Service(service) => {
            service.post_action(id, "detach").await?;
            true
        }
    };
    match detach.output.format {
        OutputFormat::Json => print::json(&json!({"id": id, "detached": has_owner})),
        OutputFormat::Text if has_owner => print::line(format_args!("{id} is no longer maintained; it keeps running")),
        OutputFormat::Text => print::line(format_args!("{id} is not maintained")),
    }
    Ok(())
}

/// Requests a stop, and waits without a limit until the owner has changed. Returns false if there was no owner.
async fn detach_here(id: &InfrastructureId, occopus: &Occopus) -> Result<bool, Failure> {
    let engine = occopus.reader().await?;
    let before = current_holder(&engine, id).await?;
    let has_owner = engine.detach(id).await?;
    if has_owner {
        print::note("stop requested; the owner stops after its current work");
    }
    while has_owner && current_holder(&engine, id).await? == before {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(has_owner)
}

async fn current_holder(engine: &Engine, id: &InfrastructureId) -> Result<Option<String>, Failure> {
    Ok(engine.status(id, false).await?.owner.map(|owner| owner.holder))
}
