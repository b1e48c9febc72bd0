//! The store.

use clap::Subcommand;

use super::OutputArgs;

/// `store`
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Look through the whole store for damage, and for records that can't be read; changes nothing.
    Check {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Write the store anew, so that its file is as small as what is in it. It then shrinks by itself when much is removed.
    Compact {
        #[command(flatten)]
        output: OutputArgs,
    },
}
