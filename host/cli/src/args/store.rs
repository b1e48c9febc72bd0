//! Arguments of `store`.

use clap::Subcommand;

use super::OutputArgs;

/// The subcommands of `store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Check the whole store for damage and unreadable records; changes nothing.
    Check {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Rewrite the store, so that its file is as small as its content. From then on it shrinks by itself when much is
    /// removed.
    Compact {
        #[command(flatten)]
        output: OutputArgs,
    },
}
