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
mod service_error;
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
use occopus_api::ExitStatus;
use tokio::runtime::Builder;

use args::{Cli, Command, ComponentCommand, GlobalArgs, OutputFormat};
use failure::Failure;
use telemetry::Telemetry;

fn main() -> ExitCode {
    logging::install_panic_hook();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors. Standard output may be closed.
            let _ = error.print();
            let is_request = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if is_request { ExitStatus::Success } else { ExitStatus::Usage }.into();
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
            print::note("error: the command is done, but standard output could not be written");
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

/// Runs a command. One that calls no plugins gets a runtime of one thread, which starts faster.
fn start(cli: Cli, telemetry: Option<Telemetry>) -> Result<ExitStatus, Failure> {
    remote::check_backend_support(&cli.command, &cli.common)?;
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "occopus", &mut script);
        // The reader may have closed the pipe.
        let _ = io::Write::write_all(&mut io::stdout(), &script);
        return Ok(ExitStatus::Success);
    }
    let mut builder =
        if needs_worker_threads(&cli.command) { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let runtime = builder.enable_all().build().map_err(|error| {
        Failure::new("start.failed", format_args!("cannot start the threads of the program: {error}"))
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
        // A panic there must not fail the command.
        let _ = runtime.block_on(runtime.spawn_blocking(move || telemetry.finish()));
    }
    // Blocked threads must not keep the program from ending.
    runtime.shutdown_background();
    result
}

/// Returns whether the command may have started nodes on this machine.
fn may_start_nodes(command: &Command) -> bool {
    match command {
        Command::Maintain(maintain) => !maintain.list,
        Command::Build(_) | Command::Scale(_) | Command::Serve(_) => true,
        _ => false,
    }
}

/// Returns whether the command calls plugins.
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
    let result: Result<(), Failure> = match command {
        Command::Validate(args) => validate::run(args, common).await,
        Command::Plan(args) => plan::run(args, common).await,
        Command::Render(args) => render::run(args, common).await,
        Command::Graph(args) => graph::run(args, common).await,
        Command::Build(args) => return build::run(args, common).await,
        Command::Status(args) => status::run(args, common).await,
        Command::Maintain(args) => return maintain::run(args, common).await,
        Command::Attach(args) => attach::attach(args, common).await,
        Command::Detach(args) => attach::detach(args, common).await,
        Command::Scale(args) => return scale::run(args, common).await,
        Command::Suspend(args) => suspend::run(args, true, common).await,
        Command::Resume(args) => suspend::run(args, false, common).await,
        Command::Destroy(args) => destroy::run(args, common).await,
        Command::Import(args) => import::run(args, common).await,
        Command::Definitions(args) => definitions::run(args, common).await,
        Command::Auth(args) => auth::run(args, common).await,
        Command::Schema(args) => schema::run(args, common).await,
        Command::Events(args) => events::run(args, common).await,
        Command::Logs(args) => logs::run(args, common).await,
        Command::Token(args) => token::run(args, common).await,
        Command::Serve(args) => serve::run(args, common).await,
        Command::Store(args) => store::run(args, common).await,
        Command::Plugin(args) => plugin::run(args, common).await,
        Command::Component(ComponentCommand::Serve { component, listen, env }) => {
            component::serve(&component, listen, env).await
        }
        Command::Component(ComponentCommand::Watch { directory }) => component::watch_outputs(directory).await,
        // `start` has handled it.
        Command::Completions { .. } => Ok(()),
    };
    result.map(|()| ExitStatus::Success)
}

/// Returns the format in which a failure is printed on standard output.
fn output_format(command: &Command) -> OutputFormat {
    match command {
        Command::Validate(args) => args.output.format,
        Command::Serve(args) => args.output.format,
        Command::Store(args::StoreCommand::Check { output } | args::StoreCommand::Compact { output }) => output.format,
        Command::Plan(args) => args.output.format,
        Command::Build(args) => args.output.format,
        Command::Status(args) => args.output.format,
        Command::Maintain(args) => args.output.format(),
        Command::Attach(args) => args.output.format,
        Command::Detach(args) => args.output.format,
        Command::Scale(args) => args.output.format,
        Command::Suspend(args) | Command::Resume(args) => args.output.format,
        Command::Destroy(args) => args.output.format,
        Command::Import(args) => args.output.format,
        Command::Render(args) => args.output.format,
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
        // Events are one document per line; a failure is printed on standard error alone.
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
