//! Plugins, and components of one's own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use occopus_runtime::Kind;

use super::OutputArgs;

/// `plugin`
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// All plugins.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// What a plugin says of itself, with the schema of its section.
    Inspect {
        /// Its name or keyword.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// What a plugin may do, why, and what would allow more.
    Explain {
        /// Its name or keyword.
        name: String,
    },
    /// Make a project for a plugin in Rust, which builds as it is.
    New {
        /// Of the plugin, and of the folder.
        name: String,
        /// What it is to be.
        #[arg(long)]
        kind: PluginKind,
        /// In which language. For others there is `occopus plugin wit`.
        #[arg(long, default_value = "rust")]
        lang: Language,
        /// Where the SDK is, when it is not to come from the repository.
        #[arg(long, value_name = "FOLDER")]
        sdk: Option<PathBuf>,
    },
    /// Build the project of a plugin, and look at what came of it. Prints the path of the component.
    Build {
        /// The project.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Write the contract (WIT) of a kind of plugins, from which bindings are generated for any language.
    Wit {
        /// What the plugin is to be.
        #[arg(long)]
        kind: PluginKind,
        /// Where to.
        #[arg(default_value = "wit")]
        folder: PathBuf,
    },
    /// Look at a file: is it a plugin, what does it need, and would it run here?
    Check {
        /// The component.
        file: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Try a plugin against a real server: does it keep what its contract promises, also when the network and the
    /// cloud do not? Whatever it makes it removes again.
    Test {
        /// The component.
        file: PathBuf,
        /// Says where the server is, and what works with it.
        #[arg(long, value_name = "FIXTURE")]
        with: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Copy a plugin to the others, pinned by its digest, with what it asks for granted.
    Install {
        /// The component.
        file: PathBuf,
        /// Agree to what it is granted, and to what it replaces.
        #[arg(short, long)]
        yes: bool,
        /// Let it take the place of a bundled plugin, or of another one, of its kind and keyword.
        #[arg(long)]
        replace: bool,
    },
    /// Remove a plugin that was installed.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Languages in which projects are made.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    Rust,
}

/// Kinds of plugins.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PluginKind {
    Driver,
    HealthChecker,
    Contextualiser,
    ConfigManager,
}

impl From<PluginKind> for Kind {
    fn from(kind: PluginKind) -> Self {
        match kind {
            PluginKind::Driver => Self::Driver,
            PluginKind::HealthChecker => Self::HealthChecker,
            PluginKind::Contextualiser => Self::Contextualiser,
            PluginKind::ConfigManager => Self::ConfigManager,
        }
    }
}

/// `component`
#[derive(Debug, Subcommand)]
pub(crate) enum ComponentCommand {
    /// Serve a `wasi:http` component.
    Serve {
        /// The component.
        #[arg(value_name = "FILE")]
        component: PathBuf,
        /// Where to listen.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
        /// A variable for the component; may be repeated.
        #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
        env: Vec<(String, String)>,
    },
    /// Keep the output of `local` nodes short for as long as they run; the program leaves this behind by itself.
    #[command(hide = true)]
    Watch {
        /// The folder with the records of the processes.
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
