//! Commands that a service does not support.

use super::client::server_address;
use crate::args::{Command, GlobalArgs, PluginCommand};
use crate::failure::Failure;

/// Backends that a command supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BackendSupport {
    /// Support for this machine and for a service.
    LocalAndService,
    /// Support for this machine only; with a service, the result would mislead.
    LocalOnly,
    /// A command of this machine, independent of where infrastructures are.
    Independent,
}

/// Fails for a command that runs on this machine only while a service is selected.
pub(crate) fn check_backend_support(command: &Command, common: &GlobalArgs) -> Result<(), Failure> {
    let is_service_selected = match backend_support(command) {
        BackendSupport::LocalAndService => false,
        BackendSupport::LocalOnly => server_address(common).is_some(),
        // With OCCOPUS_SERVER set, completions must still work.
        BackendSupport::Independent => common.server.is_some(),
    };
    if is_service_selected {
        let text = "this command runs on this machine only, not on a service";
        let help =
            if common.server.is_some() { "leave out `--server`" } else { "unset OCCOPUS_SERVER for this command" };
        return Err(Failure::new("server.not-for-this", text).help(help));
    }
    Ok(())
}

fn backend_support(command: &Command) -> BackendSupport {
    match command {
        Command::Validate(_)
        | Command::Plan(_)
        | Command::Graph(_)
        | Command::Build(_)
        | Command::Status(_)
        | Command::Maintain(_)
        | Command::Attach(_)
        | Command::Detach(_)
        | Command::Scale(_)
        | Command::Suspend(_)
        | Command::Resume(_)
        | Command::Import(_)
        | Command::Definitions(_)
        | Command::Events(_)
        | Command::Plugin(PluginCommand::List { .. } | PluginCommand::Inspect { .. }) => {
            BackendSupport::LocalAndService
        }
        Command::Destroy(destroy) if destroy.orphans.is_none() => BackendSupport::LocalAndService,
        // The addresses of a service's infrastructure are not known here.
        Command::Render(render) if render.infra_id.is_none() => BackendSupport::LocalAndService,
        Command::Destroy(_)
        | Command::Render(_)
        | Command::Logs(_)
        | Command::Auth(_)
        | Command::Store(_)
        | Command::Plugin(
            PluginCommand::Explain { .. } | PluginCommand::Install { .. } | PluginCommand::Remove { .. },
        ) => BackendSupport::LocalOnly,
        _ => BackendSupport::Independent,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use occopus_api::ExitStatus;

    use super::*;
    use crate::args::Cli;

    fn checked(words: &[&str]) -> Result<(), Failure> {
        let cli = Cli::try_parse_from([&["occopus", "--server", "http://127.0.0.1:1"], words].concat())
            .expect("usable words");
        check_backend_support(&cli.command, &cli.common)
    }

    #[test]
    fn local_commands_refuse_a_service() {
        for words in [
            &["logs", "n", "-i", "x"][..],
            &["auth", "check", "f"],
            &["schema", "description"],
            &["plugin", "new", "x", "--kind", "driver"],
            &["plugin", "install", "f"],
            &["completions", "bash"],
            &["destroy", "-i", "x", "--orphans", "f"],
            &["render", "f", "n", "-i", "x"],
        ] {
            let failure = checked(words).expect_err("refused");
            assert_eq!(failure.exit(), ExitStatus::Usage, "{words:?}");
            assert!(failure.render().contains("this machine only"), "{words:?}");
        }
        for words in [&["status"][..], &["destroy", "-i", "x"], &["render", "f", "n"], &["plugin", "list"]] {
            assert!(checked(words).is_ok(), "{words:?}");
        }
    }
}
