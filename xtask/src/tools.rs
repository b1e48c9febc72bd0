//! Calls of cargo and rustup.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Target of plugins and of the example's services.
const GUEST_TARGET: &str = "wasm32-wasip2";

/// Returns the root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Returns cargo's target directory.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// Returns a cargo command in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end; fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Adds the target for plugins to the toolchain, when it is missing.
pub(crate) fn ensure_guest_target() -> Result<()> {
    if guest_target_installed()? {
        return Ok(());
    }
    println!("Adding the target {GUEST_TARGET} to the toolchain ...");
    let added = Command::new("rustup").current_dir(root()).args(["target", "add", GUEST_TARGET]).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => bail!(
            "the Rust toolchain has no {GUEST_TARGET} target, and `rustup target add {GUEST_TARGET}` did not work. \
             Without rustup, install the target with the package manager that Rust came from."
        ),
    }
}

fn guest_target_installed() -> Result<bool> {
    let output = Command::new("rustc")
        .current_dir(root())
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .stderr(Stdio::null())
        .output()
        .context("could not start rustc")?;
    let libraries = String::from_utf8(output.stdout).context("the path of Rust's libraries is not UTF-8")?;
    Ok(output.status.success() && Path::new(libraries.trim()).is_dir())
}

/// Builds the `occopus` program and returns its path.
pub(crate) fn build_occopus(release: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "occopus-cli", "--bin", "occopus"]);
    if release {
        command.arg("--release");
    }
    run(&mut command)?;
    Ok(target_directory().join(if release { "release" } else { "debug" }).join("occopus"))
}

/// Builds the services of `examples/hello` and copies them to the paths in its node definitions.
pub(crate) fn build_hello_services() -> Result<()> {
    let services = ["backend", "frontend"];
    let target = target_directory().join("plugins");
    let mut command = cargo();
    command.args(["build", "--quiet", "--profile", "plugin", "--target", GUEST_TARGET, "--target-dir"]).arg(&target);
    for service in services {
        command.arg("--package").arg(format!("hello-{service}"));
    }
    run(&mut command)?;
    let components = root().join("examples/hello/components");
    std::fs::create_dir_all(&components)?;
    for service in services {
        let built = target.join(GUEST_TARGET).join("plugin").join(format!("hello_{service}.wasm"));
        std::fs::copy(&built, components.join(format!("{service}.wasm")))
            .with_context(|| format!("could not copy {}", built.display()))?;
    }
    Ok(())
}

/// Runs all tests of the workspace: with cargo-nextest if it is installed, since most of them wait for something and many can
/// wait at a time.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    ensure_guest_target()?;
    let occopus = build_occopus(false)?;
    build_hello_services()?;
    let tests = |words: &[&str]| {
        let mut command = cargo();
        command.args(words).arg("--workspace").env("OCCOPUS_BIN", &occopus);
        command
    };
    if !has_subcommand("nextest") {
        return run(tests(&["test"]).args(arguments));
    }
    run(tests(&["nextest", "run"]).args(arguments))?;
    // nextest does not run doc tests.
    if arguments.iter().all(|argument| argument == "--no-fail-fast") {
        run(tests(&["test", "--doc", "--quiet"]).args(arguments))?;
    }
    Ok(())
}

/// Returns whether cargo has this subcommand, which is a program of its own.
pub(crate) fn has_subcommand(name: &str) -> bool {
    let version = cargo().args([name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Runs the benchmarks, optimised.
pub(crate) fn bench(filter: Option<&str>) -> Result<()> {
    ensure_guest_target()?;
    let occopus = build_occopus(true)?;
    build_hello_services()?;
    let mut command = cargo();
    command.args(["bench", "--quiet", "--package", "occopus-tests", "--bench", "figures", "--"]);
    run(command.args(filter).env("OCCOPUS_BIN", occopus))
}

/// Runs the tests of an OpenStack, one after the other, since they share it: an existing one, which `OS_AUTH_URL` and its kin
/// describe, or one that is started for them.
pub(crate) fn e2e_openstack() -> Result<()> {
    let started = if std::env::var_os("OS_AUTH_URL").is_some() { Vec::new() } else { start_openstack()? };
    ensure_guest_target()?;
    run(cargo().args(["build", "--locked", "-p", "occopus-cli"]))?;
    let tests = ["test", "--locked", "-p", "occopus-tests", "--test", "nova", "--", "--ignored", "--test-threads=1"];
    run(cargo().args(tests).envs(started))
}

/// Starts an OpenStack, and returns the variables that describe it. It is not stopped after the tests.
fn start_openstack() -> Result<Vec<(String, String)>> {
    let script = "tests/beds/openstack.sh";
    let output = Command::new(script).arg("up").stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("could not start {script}"))?;
    if !output.status.success() {
        bail!("{script} ended with {}; it needs root, on Debian 12", output.status);
    }
    let variables = String::from_utf8(output.stdout)?;
    Ok(variables.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
}
