//! The store.

use clap::Subcommand;

use super::Output;

/// `store`
#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Look through the whole store for damage, and for records that can't be read; changes nothing.
    Check {
        #[command(flatten)]
        output: Output,
    },
    /// Write the store anew, so that its file is as small as what is in it. It then shrinks by itself when much is removed.
    Compact {
        #[command(flatten)]
        output: Output,
    },
}
