//! `occopus store`: checks for damage, and compaction.

use std::path::{Path, PathBuf};

use occopus::store::{self, CheckReport};
use occopus::{Config, Occopus, Overrides};
use occopus_engine::EngineError;
use serde_json::json;

use super::args::{GlobalArgs, OutputFormat, StoreCommand};
use super::failure::Failure;
use super::print;

pub(crate) async fn run(command: StoreCommand, common: &GlobalArgs) -> Result<(), Failure> {
    let overrides = Overrides { config: common.cfg.clone(), auth_data: common.auth_data_path.clone() };
    let (config, warnings) = Config::load(&overrides)?;
    for warning in warnings {
        print::note(format_args!("warning: {warning}"));
    }
    match command {
        StoreCommand::Check { output } => check(config, output.format).await,
        StoreCommand::Compact { output } => compact(config.store, output.format).await,
    }
}

async fn check(config: Config, format: OutputFormat) -> Result<(), Failure> {
    let path = config.store.clone();
    let report = run_on_file(&path, store::check).await?;
    let mut problems = report.problems.clone();
    // SQLite may not find all records that its damage affects.
    let unreadable = unreadable_records(&Occopus::new(config)).await;
    problems.extend(unreadable.into_iter().map(|error| error.to_string()));
    print_report(&path, &report, &problems, format);
    if problems.is_empty() {
        return Ok(());
    }
    let text =
        format!("the store {} is damaged: {} problems, the first: {}", path.display(), problems.len(), problems[0]);
    Err(Failure::new("store.damaged", text))
}

fn print_report(path: &Path, report: &CheckReport, problems: &[String], format: OutputFormat) {
    let CheckReport { entries, bytes, free_bytes: free, .. } = *report;
    match format {
        OutputFormat::Json => print::json(&json!({
            "store": path, "entries": entries, "bytes": bytes, "free_bytes": free, "problems": problems,
        })),
        OutputFormat::Text => {
            for problem in problems {
                print::line(problem);
            }
            let (size, free) = (mebibytes(bytes), mebibytes(free));
            let path = path.display();
            print::line(format_args!("{path}: {entries} entries in {size} MiB, of which {free} MiB are free"));
            if problems.is_empty() {
                print::line("no damage found");
            }
        }
    }
}

async fn compact(path: PathBuf, format: OutputFormat) -> Result<(), Failure> {
    let size = || std::fs::metadata(&path).map_or(0, |file| file.len());
    let before = size();
    run_on_file(&path, store::compact).await?;
    let after = size();
    match format {
        OutputFormat::Json => print::json(&json!({ "store": path, "bytes_before": before, "bytes": after })),
        OutputFormat::Text => {
            print::line(format_args!("{}: {} MiB, before {} MiB", path.display(), mebibytes(after), mebibytes(before)))
        }
    }
    Ok(())
}

/// Runs blocking work on the file of the store; the time grows with its size.
async fn run_on_file<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, occopus_engine::ports::StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let path = path.to_owned();
    match tokio::task::spawn_blocking(move || work(&path)).await {
        Ok(done) => done.map_err(|error| EngineError::from(error).into()),
        // Nothing cancels it, so it has panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Returns the errors of all records that cannot be read.
async fn unreadable_records(occopus: &Occopus) -> Vec<EngineError> {
    let engine = match occopus.reader().await {
        Ok(engine) => engine,
        // The check of the file has reported its errors.
        Err(_) => return Vec::new(),
    };
    let mut unreadable = Vec::new();
    let infrastructures = match engine.list().await {
        Ok(all) => all,
        Err(error) => return vec![error],
    };
    unreadable.extend(engine.definitions().await.err());
    for infrastructure in infrastructures {
        let id = &infrastructure.id;
        unreadable.extend(engine.status(id, false).await.err());
        match engine.unreadable_events(id).await {
            Ok(errors) => unreadable.extend(errors.into_iter().map(EngineError::from)),
            Err(error) => unreadable.push(error),
        }
    }
    unreadable
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
