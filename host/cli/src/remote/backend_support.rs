//! Which commands a service can't do.

use super::client::server_address;
use crate::args::{Command, GlobalArgs, PluginCommand};
use crate::failure::{ExitStatus, Failure};

/// Who is meant to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BackendSupport {
    /// This machine or a service.
    LocalAndService,
    /// This machine; with a service it would be mistaken for something else.
    LocalOnly,
    /// This machine; it has nothing to do with where infrastructures are.
    Independent,
}

/// Refuses what works on this machine only, instead of doing it here while a service is meant.
pub(crate) fn check_backend_support(command: &Command, common: &GlobalArgs) -> Result<(), Failure> {
    let is_meant = match backend_support(command) {
        BackendSupport::LocalAndService => false,
        BackendSupport::LocalOnly => server_address(common).is_some(),
        // Whoever has OCCOPUS_SERVER set may still want completions.
        BackendSupport::Independent => common.server.is_some(),
    };
    if is_meant {
        let text = "this works on this machine only, not against a service";
        let help = if common.server.is_some() { "leave out `--server`" } else { "unset OCCOPUS_SERVER for it" };
        return Err(Failure::new(ExitStatus::Usage, "server.not-for-this", text).help(help));
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
        // Addresses of a service's infrastructure are not known here.
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

    use super::*;
    use crate::args::Cli;

    fn checked(words: &[&str]) -> Result<(), Failure> {
        let cli = Cli::try_parse_from([&["occopus", "--server", "http://127.0.0.1:1"], words].concat())
            .expect("usable words");
        check_backend_support(&cli.command, &cli.common)
    }

    #[test]
    fn what_works_here_only_says_so() {
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
