//! Arguments of `plugin` and `component`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use occopus_runtime::PluginKind;

use super::OutputArgs;

/// The subcommands of `plugin`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List all plugins.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show the description of a plugin, with the schema of its section.
    Inspect {
        /// Name or keyword of the plugin.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Explain the grants of a plugin, their reasons, and how to grant more.
    Explain {
        /// Name or keyword of the plugin.
        name: String,
    },
    /// Create a Rust project for a plugin, which builds as it is.
    New {
        /// Name of the plugin, and of the folder.
        name: String,
        /// Kind of the plugin.
        #[arg(long)]
        kind: PluginKindArgument,
        /// Language of the project. For others see `occopus plugin wit`.
        #[arg(long, default_value = "rust")]
        lang: Language,
        /// Folder of the SDK. Default: the repository of Occopus.
        #[arg(long, value_name = "FOLDER")]
        sdk: Option<PathBuf>,
    },
    /// Build the project of a plugin, and check the component. Prints the component's path.
    Build {
        /// Folder of the project.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Write the contract (WIT) of a kind of plugins, from which bindings are generated for any language.
    Wit {
        /// Kind of the plugin.
        #[arg(long)]
        kind: PluginKindArgument,
        /// Destination folder.
        #[arg(default_value = "wit")]
        folder: PathBuf,
    },
    /// Check whether a file is a plugin, what it requests, and whether it would run here.
    Check {
        /// Component file.
        file: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Test the conformance of a plugin to its contract against a real server, also with faults of the network and of the
    /// cloud. Removes everything that the tests make.
    Test {
        /// Component file.
        file: PathBuf,
        /// Fixture file: the address of the server, and sections that are valid for it.
        #[arg(long, value_name = "FIXTURE")]
        with: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Install a plugin: copy it, pin its digest, and grant what it requests.
    Install {
        /// Component file.
        file: PathBuf,
        /// Consent to its grants, and to what it replaces, without asking.
        #[arg(short, long)]
        yes: bool,
        /// Replace a bundled or another plugin of the same kind and keyword.
        #[arg(long)]
        replace: bool,
    },
    /// Remove an installed plugin.
    Remove {
        /// Name of the plugin.
        name: String,
    },
}

/// A language of projects.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    Rust,
}

/// A kind of plugins.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PluginKindArgument {
    Driver,
    HealthChecker,
    Contextualiser,
    ConfigManager,
}

impl From<PluginKindArgument> for PluginKind {
    fn from(kind: PluginKindArgument) -> Self {
        match kind {
            PluginKindArgument::Driver => Self::Driver,
            PluginKindArgument::HealthChecker => Self::HealthChecker,
            PluginKindArgument::Contextualiser => Self::Contextualiser,
            PluginKindArgument::ConfigManager => Self::ConfigManager,
        }
    }
}

/// The subcommands of `component`.
#[derive(Debug, Subcommand)]
pub(crate) enum ComponentCommand {
    /// Serve a `wasi:http` component.
    Serve {
        /// Component file.
        #[arg(value_name = "FILE")]
        component: PathBuf,
        /// Address and port to listen on.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
        /// Environment variable for the component; may be repeated.
        #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
        env: Vec<(String, String)>,
    },
    /// Rotate the output of `local` nodes for as long as they run. Other commands start this in the background.
    #[command(hide = true)]
    Watch {
        /// Folder with the records of the processes.
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
    },
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not NAME=VALUE".to_owned()),
    }
}
