//! `cargo xtask fuzz`: hands generated input to what reads foreign bytes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tools;

/// libFuzzer needs flags of the compiler that only this toolchain takes.
const TOOLCHAIN: &str = "nightly";
/// The longest input, and how long one may take: what is slower counts as a find.
const BYTES: u32 = 16 << 10;
const SECONDS: u32 = 20;

/// Runs one target, or each, for so many seconds.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<()> {
    let known = targets()?;
    let wanted: Vec<&String> = known.iter().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if wanted.is_empty() {
        bail!("there is no such target; there are {}", known.join(", "));
    }
    ensure_tools()?;
    for name in wanted {
        println!("==> {name}, for {seconds} s");
        fuzz(name, seconds)?;
    }
    Ok(())
}

/// Those that Cargo.toml of the folder names, by the files of their corpora.
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

/// What is new goes into a folder of the target directory; the corpus in git stays as it is.
fn fuzz(name: &str, seconds: u32) -> Result<()> {
    let found = tools::target_directory().join("fuzz-corpus").join(name);
    let finds = tools::target_directory().join("fuzz-artifacts").join(name);
    for folder in [&found, &finds] {
        std::fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    }
    let mut command = cargo_fuzz();
    // No sanitizer: nothing here is unsafe, and without one ten times as much is tried.
    command.args(["run", "--sanitizer", "none", name]).args([&found, &folder().join("corpus").join(name)]);
    command.args(["--", &format!("-max_total_time={seconds}"), &format!("-timeout={SECONDS}")]);
    command.args([&format!("-max_len={BYTES}"), &format!("-artifact_prefix={}/", finds.display())]);
    tools::run(&mut command).with_context(|| {
        format!("a find is in {}: copy it into tests/fuzz/corpus/{name}, and mend its cause", finds.display())
    })
}

fn cargo_fuzz() -> Command {
    let mut command = Command::new("cargo");
    // Not those of the toolchain that runs this.
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
