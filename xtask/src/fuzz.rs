//! `cargo xtask fuzz`: generated input for code that reads foreign bytes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tools;

/// Toolchain with the compiler flags that libFuzzer needs.
const TOOLCHAIN: &str = "nightly";
/// Length of the longest input, and seconds that one may take: a slower one counts as a find.
const BYTES: u32 = 16 << 10;
const SECONDS: u32 = 20;

/// Runs one target, or each, for this number of seconds.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<()> {
    let known = targets()?;
    let selected: Vec<&String> = known.iter().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if selected.is_empty() {
        bail!("unknown target; the targets are {}", known.join(", "));
    }
    ensure_tools()?;
    for name in selected {
        println!("==> {name}, for {seconds} s");
        fuzz(name, seconds)?;
    }
    Ok(())
}

/// Returns the targets of the Cargo.toml in the directory, by the files of their corpora.
fn targets() -> Result<Vec<String>> {
    let corpora = folder().join("corpus");
    let entries = std::fs::read_dir(&corpora).with_context(|| format!("could not read {}", corpora.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}

fn folder() -> PathBuf {
    tools::root().join("tests/fuzz")
}

/// Runs a target. New inputs are written into the target directory; the corpus in git stays as it is.
fn fuzz(name: &str, seconds: u32) -> Result<()> {
    let found = tools::target_directory().join("fuzz-corpus").join(name);
    let finds = tools::target_directory().join("fuzz-artifacts").join(name);
    for folder in [&found, &finds] {
        std::fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    }
    let mut command = cargo_fuzz();
    // No sanitizer: there is no unsafe code here, and without one ten times as many inputs are tried.
    command.args(["run", "--sanitizer", "none", name]).args([&found, &folder().join("corpus").join(name)]);
    command.args(["--", &format!("-max_total_time={seconds}"), &format!("-timeout={SECONDS}")]);
    command.args([&format!("-max_len={BYTES}"), &format!("-artifact_prefix={}/", finds.display())]);
    tools::run(&mut command).with_context(|| {
        format!(
            "an input that fails is in {}: copy it into tests/fuzz/corpus/{name}, and fix its cause",
            finds.display()
        )
    })
}

fn cargo_fuzz() -> Command {
    let mut command = Command::new("cargo");
    // The variables of the toolchain that runs this are removed.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command.arg(format!("+{TOOLCHAIN}")).arg("fuzz").current_dir(folder());
    command
}

fn ensure_tools() -> Result<()> {
    if !tools::has_subcommand("fuzz") {
        bail!("cargo-fuzz is not installed: `cargo install --locked cargo-fuzz`");
    }
    let rustc = Command::new("rustc")
        .env_remove("RUSTUP_TOOLCHAIN")
        .args([&format!("+{TOOLCHAIN}"), "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !rustc.is_ok_and(|status| status.success()) {
        bail!("there is no toolchain {TOOLCHAIN}: `rustup toolchain install {TOOLCHAIN} --profile minimal`");
    }
    Ok(())
}
