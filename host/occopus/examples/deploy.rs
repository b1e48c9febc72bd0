//! Deploys two kinds of processes on this machine, watches what happens, scales, heals and destroys.
//!
//! `cargo run -p occopus --example deploy`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use occopus::engine::{BuildRequest, MaintainOptions, RunHandle, Scale};
use occopus::{Config, Occopus, Preparation, Purpose, Step};
use tokio::task::JoinHandle;

const DESCRIPTION: &str = "
infra_name: example
user_id: me
nodes:
- &db  {name: db, type: db}
- &web {name: web, type: web, scaling: {min: 1, max: 3}}
dependencies:
- [*web, *db]
";

const DEFINITIONS: &str = "
'node_def:db':
- resource: {type: local}
  contextualisation:
    type: basic
    attributes: {command: [sleep, '1000']}
  health_check: {ping: false}
'node_def:web':
- resource: {type: local}
  contextualisation:
    type: basic
    attributes:
      command: [sleep, '1000']
      env: {DATABASE: '{{getip(\"db\")}}'}
  health_check: {ping: false}
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join("occopus-example");
    std::fs::create_dir_all(&folder)?;
    run(&folder).await
}

/// Runs the example with all files in this folder.
pub(crate) async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::write(folder.join("infra.yaml"), DESCRIPTION)?;
    std::fs::write(folder.join("definitions.yaml"), DEFINITIONS)?;
    let occopus = Occopus::new(Config::in_folder(folder));

    // Errors are returned all at once, each with its location in the files.
    let compiled = occopus.compile(folder.join("infra.yaml"), vec![folder.join("definitions.yaml")]).await?;
    let mut preparation = Preparation::new(&occopus, compiled, Purpose::Deploy)?;
    preparation.advance(Step::Authenticate, |plugin| println!("compiling {plugin}")).await?;
    let (infrastructure, _) = preparation.into_parts();
    let engine = occopus.engine().await?;

    let (run, printer) = watched();
    let status = engine.build(BuildRequest::new(infrastructure), run).await?;
    printer.await?;
    assert!(status.is_ready());

    // The process that maintains the infrastructure applies the new target; here, that is one pass of this program.
    let id = &status.id;
    println!("target of web: {}", engine.scale(id, "web", Scale::By(2)).await?);
    let (run, printer) = watched();
    let status = engine.maintain(id, MaintainOptions::default(), run).await?;
    printer.await?;
    assert_eq!(status.nodes[1].instances.len(), 3);

    // In the background, until it is stopped.
    let (run, printer) = watched();
    let stop = run.stop.clone();
    let maintenance = tokio::spawn({
        let (engine, id) = (engine.clone(), status.id.clone());
        let options = MaintainOptions { cyclic: Some(Duration::from_millis(200)), ..MaintainOptions::default() };
        async move { engine.maintain(&id, options, run).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.request();
    maintenance.await??;
    printer.await?;

    let (run, printer) = watched();
    let report = engine.destroy(id, run).await?;
    printer.await?;
    println!("destroyed {id}: all {} machines are gone", report.removed);
    assert!(report.left.is_empty());
    Ok(())
}

/// Creates a run whose events are printed.
fn watched() -> (RunHandle, JoinHandle<()>) {
    let (run, mut events) = RunHandle::new();
    let printer = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            println!("{event}");
        }
    });
    (run, printer)
}
