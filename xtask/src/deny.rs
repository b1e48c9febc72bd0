//! `cargo xtask deny`: checks of the dependencies.

use anyhow::{Result, bail};

use crate::tools;

/// Checks that need no other network than the registry's.
const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// Runs cargo-deny with the project's deny.toml.
pub(crate) fn run(advisories: bool) -> Result<()> {
    if !tools::has_subcommand("deny") {
        bail!("cargo-deny is not installed: `cargo install --locked cargo-deny`, or a package of it");
    }
    let mut checks = tools::cargo();
    checks.args(["deny", "--locked", "check"]).args(CHECKS);
    if advisories {
        checks.arg("advisories");
    }
    tools::run(&mut checks)?;
    if !advisories {
        println!("advisories are not checked: that needs github.com, and is `cargo xtask deny --advisories`");
    }
    Ok(())
}
