//! Builds every plugin of this workspace as a component and puts it where `src/lib.rs` includes it.
#![allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "plugin";
/// Folders of `plugins/`, with which the names of their packages begin.
const PLUGIN_FOLDERS: [&str; 4] = ["drivers", "health", "context", "config"];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = manifest.ancestors().nth(2).ok_or("plugins/bundle is not in a workspace")?;
    for watched in ["plugins", "sdk", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }

    require_target()?;
    let packages = packages(&root.join("plugins"))?;
    let target = target_folder(&out);
    build(root, &target, packages.values())?;

    let mut list = String::from("&[\n");
    for (name, package) in &packages {
        let component = format!("{}.wasm", package.replace('-', "_"));
        let built = target.join(TARGET).join(PROFILE).join(&component);
        fs::copy(&built, out.join(&component)).map_err(|error| format!("{}: {error}", built.display()))?;
        list.push_str(&format!(
            "    Bundled {{ name: {name:?}, bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{component}\")) }},\n"
        ));
    }
    list.push_str("]\n");
    fs::write(out.join("plugins.rs"), list)?;
    Ok(())
}

fn variable(name: &str) -> Result<String, Box<dyn Error>> {
    env::var(name).map_err(|error| format!("{name}: {error}; run this through cargo").into())
}

/// Returns the names of plugins (`driver-docker`) with those of their packages (`occopus-driver-docker`).
fn packages(plugins: &Path) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    for kind in PLUGIN_FOLDERS {
        // A kind without plugins has no folder.
        let Ok(entries) = fs::read_dir(plugins.join(kind)) else { continue };
        for entry in entries {
            let manifest = entry?.path().join("Cargo.toml");
            let Ok(text) = fs::read_to_string(&manifest) else { continue };
            let package = text
                .lines()
                .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
                .ok_or_else(|| format!("{} names no package", manifest.display()))?;
            let name = package.strip_prefix("occopus-").unwrap_or(package);
            found.insert(name.to_owned(), package.to_owned());
        }
    }
    Ok(found)
}

/// Returns one folder for all profiles of the host, since the plugins are the same for each. It is not the host's own
/// target folder: the cargo that runs this script holds its lock.
fn target_folder(out: &Path) -> PathBuf {
    let host = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap_or(out);
    host.join("plugins")
}

fn require_target() -> Result<(), Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let answer = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output()?;
    let library = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    if answer.status.success() && library.is_dir() {
        return Ok(());
    }
    Err(format!("plugins are built for {TARGET}, which is not installed. Add it: rustup target add {TARGET}").into())
}

fn build<'a>(root: &Path, target: &Path, packages: impl Iterator<Item = &'a String>) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(root)
        .args(["build", "--locked", "--profile", PROFILE, "--target", TARGET, "--target-dir"])
        .arg(target);
    for package in packages {
        cargo.args(["--package", package]);
    }
    // Variables that the outer cargo set for the host's build (flags, wrappers such as clippy's, the features of this
    // package) are not meant for the plugins.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_for_the_host) {
            cargo.env_remove(name);
        }
    }
    let status = cargo.status()?;
    if status.success() { Ok(()) } else { Err(format!("the plugins do not build: cargo ended with {status}").into()) }
}

fn is_for_the_host(variable: &str) -> bool {
    const KEPT_VARIABLES: [&str; 5] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    let flags =
        ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS", "RUSTDOCFLAGS"].contains(&variable);
    flags || variable.starts_with("CARGO_") && !KEPT_VARIABLES.iter().any(|kept| variable.starts_with(kept))
}
