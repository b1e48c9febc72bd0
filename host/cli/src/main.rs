//! The `occopus` command.

mod args;
mod attach;
mod auth;
mod backend;
mod build;
mod component;
mod definitions;
mod destroy;
mod events;
mod failure;
mod graph;
mod import;
mod logging;
mod logs;
mod maintain;
mod plan;
mod plugin;
mod print;
mod reaper;
mod remote;
mod render;
mod report;
mod scale;
mod schema;
mod serve;
mod signals;
mod status;
mod store;
mod suspend;
mod telemetry;
mod terminal;
mod token;
mod validate;

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use tokio::runtime::Builder;

use args::{Cli, Command, ComponentCommand, GlobalArgs, OutputFormat};
use failure::{ExitStatus, Failure};
use telemetry::Telemetry;

fn main() -> ExitCode {
    logging::install_panic_hook();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are wishes, not errors. Nobody may be there to read them.
            let _ = error.print();
            let wish = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if wish { ExitStatus::Success } else { ExitStatus::Usage }.into();
        }
    };
    let telemetry = match Telemetry::from_environment().transpose() {
        Ok(telemetry) => telemetry,
        Err(error) => {
            print::note(format_args!("warning: traces and metrics are not sent: {error}"));
            None
        }
    };
    logging::init_logging(cli.common.verbose, telemetry.as_ref());
    let format = output_format(&cli.command);
    match start(cli, telemetry) {
        Ok(_) if print::has_stdout_failed() => {
            print::note("error: it is done, but standard output could not be written");
            ExitStatus::Failed.into()
        }
        Ok(exit) => exit.into(),
        Err(failure) => {
            if format == OutputFormat::Json {
                print::json(&failure.to_json());
            }
            print::note(failure.render().trim_end());
            failure.exit().into()
        }
    }
}

/// What only reads the store gets along with one thread, which starts faster.
fn start(cli: Cli, telemetry: Option<Telemetry>) -> Result<ExitStatus, Failure> {
    remote::check_backend_support(&cli.command, &cli.common)?;
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "occopus", &mut script);
        // A reader that has gone wants no more.
        let _ = io::Write::write_all(&mut io::stdout(), &script);
        return Ok(ExitStatus::Success);
    }
    let mut builder =
        if needs_worker_threads(&cli.command) { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let runtime = builder.enable_all().build().map_err(|error| {
        Failure::new(
            ExitStatus::Failed,
            "start.failed",
            format_args!("the program could not start its threads: {error}"),
        )
    })?;
    if let Some(telemetry) = &telemetry {
        telemetry.run_on(runtime.handle().clone());
    }
    let starts = may_start_nodes(&cli.command);
    let result = runtime.block_on(async {
        let result = run(cli.command, &cli.common).await;
        if starts {
            component::spawn_output_watcher(&cli.common).await;
        }
        result
    });
    if let Some(telemetry) = telemetry {
        // A panic in there is no reason to fail.
        let _ = runtime.block_on(runtime.spawn_blocking(move || telemetry.finish()));
    }
    // Threads that still wait for something must not keep the program.
    runtime.shutdown_background();
    result
}

/// Whether nodes may run on this machine when the command ends that did not run before.
fn may_start_nodes(command: &Command) -> bool {
    match command {
        Command::Maintain(maintain) => !maintain.list,
        Command::Build(_) | Command::Scale(_) | Command::Serve(_) => true,
        _ => false,
    }
}

/// Whether plugins are called.
fn needs_worker_threads(command: &Command) -> bool {
    match command {
        Command::Status(status) => status.refresh,
        Command::Maintain(maintain) => !maintain.list,
        Command::Events(_)
        | Command::Logs(_)
        | Command::Definitions(_)
        | Command::Suspend(_)
        | Command::Resume(_)
        | Command::Attach(_)
        | Command::Detach(_)
        | Command::Token(_)
        | Command::Store(_)
        | Command::Completions { .. } => false,
        _ => true,
    }
}

async fn run(command: Command, common: &GlobalArgs) -> Result<ExitStatus, Failure> {
    reaper::spawn_if_init();
    let done: Result<(), Failure> = match command {
        Command::Validate(it) => validate::run(it, common).await,
        Command::Plan(it) => plan::run(it, common).await,
        Command::Render(it) => render::run(it, common).await,
        Command::Graph(it) => graph::run(it, common).await,
        Command::Build(it) => return build::run(it, common).await,
        Command::Status(it) => status::run(it, common).await,
        Command::Maintain(it) => return maintain::run(it, common).await,
        Command::Attach(it) => attach::attach(it, common).await,
        Command::Detach(it) => attach::detach(it, common).await,
        Command::Scale(it) => return scale::run(it, common).await,
        Command::Suspend(it) => suspend::run(it, true, common).await,
        Command::Resume(it) => suspend::run(it, false, common).await,
        Command::Destroy(it) => destroy::run(it, common).await,
        Command::Import(it) => import::run(it, common).await,
        Command::Definitions(it) => definitions::run(it, common).await,
        Command::Auth(it) => auth::run(it, common).await,
        Command::Schema(it) => schema::run(it, common).await,
        Command::Events(it) => events::run(it, common).await,
        Command::Logs(it) => logs::run(it, common).await,
        Command::Token(it) => token::run(it, common).await,
        Command::Serve(it) => serve::run(it, common).await,
        Command::Store(it) => store::run(it, common).await,
        Command::Plugin(it) => plugin::run(it, common).await,
        Command::Component(ComponentCommand::Serve { component, listen, env }) => {
            component::serve(&component, listen, env).await
        }
        Command::Component(ComponentCommand::Watch { directory }) => component::watch_outputs(directory).await,
        // Done before anything was started.
        Command::Completions { .. } => Ok(()),
    };
    done.map(|()| ExitStatus::Success)
}

/// In which form a failure is told on standard output.
fn output_format(command: &Command) -> OutputFormat {
    match command {
        Command::Validate(it) => it.output.format,
        Command::Serve(it) => it.output.format,
        Command::Store(args::StoreCommand::Check { output } | args::StoreCommand::Compact { output }) => output.format,
        Command::Plan(it) => it.output.format,
        Command::Build(it) => it.output.format,
        Command::Status(it) => it.output.format,
        Command::Maintain(it) => it.output.format(),
        Command::Attach(it) => it.output.format,
        Command::Detach(it) => it.output.format,
        Command::Scale(it) => it.output.format,
        Command::Suspend(it) | Command::Resume(it) => it.output.format,
        Command::Destroy(it) => it.output.format,
        Command::Import(it) => it.output.format,
        Command::Render(it) => it.output.format,
        Command::Definitions(
            args::DefinitionsCommand::List { output } | args::DefinitionsCommand::Show { output, .. },
        ) => output.format,
        Command::Auth(args::AuthCommand::Check { output, .. }) => output.format,
        Command::Token(
            args::TokenCommand::Create { output, .. }
            | args::TokenCommand::List { output }
            | args::TokenCommand::Revoke { output, .. },
        ) => output.format,
        Command::Plugin(
            args::PluginCommand::List { output }
            | args::PluginCommand::Inspect { output, .. }
            | args::PluginCommand::Check { output, .. }
            | args::PluginCommand::Test { output, .. },
        ) => output.format,
        // Events are a document a line; a failure is told on standard error alone.
        Command::Events(_)
        | Command::Logs(_)
        | Command::Graph(_)
        | Command::Schema(_)
        | Command::Definitions(args::DefinitionsCommand::Remove { .. })
        | Command::Plugin(
            args::PluginCommand::New { .. }
            | args::PluginCommand::Build { .. }
            | args::PluginCommand::Wit { .. }
            | args::PluginCommand::Explain { .. }
            | args::PluginCommand::Install { .. }
            | args::PluginCommand::Remove { .. },
        )
        | Command::Component(_)
        | Command::Completions { .. } => OutputFormat::Text,
    }
}
