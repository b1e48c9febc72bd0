//! Projects of plugins: created from a template, and built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use occopus_runtime::PluginKind;

use crate::failure::Failure;
use crate::print;

const WASM_TARGET: &str = "wasm32-wasip2";
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Returns the code, and the fixture for the conformance suite.
fn templates(kind: PluginKind) -> (&'static str, &'static str) {
    macro_rules! of {
        ($name:literal) => {
            (
                include_str!(concat!("../../../../sdk/templates/", $name, ".rs")),
                include_str!(concat!("../../../../sdk/templates/", $name, ".yaml")),
            )
        };
    }
    match kind {
        PluginKind::Driver => of!("driver"),
        PluginKind::HealthChecker => of!("health-checker"),
        PluginKind::Contextualiser => of!("contextualiser"),
        PluginKind::ConfigManager => of!("config-manager"),
    }
}

/// The server of the made-up cloud, for the driver's tests.
const SAMPLE_CLOUD_SERVER: &str = include_str!("../../../../examples/made-up-cloud/cloud.py");

/// Creates a project in a folder of this name.
pub(crate) fn new(name: &str, kind: PluginKind, sdk: Option<&Path>) -> Result<(), Failure> {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) || !name.chars().all(is_plain) {
        let text = format_args!("`{name}` is not a valid plugin name");
        return Err(Failure::new("plugin.name", text));
    }
    let folder = PathBuf::from(name);
    if folder.exists() {
        return Err(Failure::new("plugin.exists", format_args!("`{name}` already exists")));
    }
    let sdk = match sdk {
        Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        // The repository in which this program was built, if it still exists.
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk"),
    };
    let sdk = match sdk.canonicalize() {
        Ok(path) if path.join("Cargo.toml").is_file() => format!("{{ path = {:?} }}", path.display().to_string()),
        _ => format!("{{ git = \"{REPOSITORY}\" }}"),
    };
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\n\
         [dependencies]\noccopus-sdk = {sdk}\nschemars = \"1\"\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
         serde_json = \"1\"\n\n# Small, as plugins are copied around.\n[profile.release]\nopt-level = \"s\"\nlto = true\n\
         codegen-units = 1\npanic = \"abort\"\nstrip = true\n\n# A project of its own, wherever it lies.\n[workspace]\n"
    );
    let (code, fixture) = templates(kind);
    let mut files = vec![
        ("Cargo.toml", manifest),
        ("src/lib.rs", code.replace("NAME", name)),
        ("conformance.yaml", fixture.replace("NAME", name)),
        (".gitignore", "/target\n".to_owned()),
    ];
    if kind == PluginKind::Driver {
        files.push(("cloud.py", SAMPLE_CLOUD_SERVER.to_owned()));
    }
    for (file, text) in files {
        let path = folder.join(file);
        let written = fs::create_dir_all(path.parent().unwrap_or(&folder)).and_then(|()| fs::write(&path, text));
        written.map_err(|error| {
            Failure::new("plugin.write", format_args!("{} can't be written: {error}", path.display()))
        })?;
    }
    print::line(format_args!("{name}/ is a {}; its code is in {name}/src/lib.rs", kind.name()));
    print::line(format_args!("Next: cd {name} && occopus plugin build"));
    print::line("and:  occopus plugin test FILE --with conformance.yaml");
    Ok(())
}

/// Builds the project in a folder. Returns the path of the component.
pub(crate) fn build(folder: &Path) -> Result<PathBuf, Failure> {
    let failed = |text: String| Failure::new("plugin.build", text);
    if !folder.join("Cargo.toml").is_file() {
        return Err(failed(format!("there is no Cargo.toml in {}", folder.display()))
            .help("`occopus plugin new NAME --kind driver` makes a project"));
    }
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo()
        .current_dir(folder)
        .args(["build", "--release", "--target", WASM_TARGET, "--message-format=json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| {
            failed(format!("cargo can't be started: {error}")).help("plugins in Rust need https://rustup.rs")
        })?;
    if !output.status.success() {
        return Err(failed("the plugin can't be built".to_owned())
            .help(format_args!("if the target is missing: rustup target add {WASM_TARGET}")));
    }
    // One message per line; the last component is the project's own.
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let files = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten()
        .filter_map(|file| file.as_str().map(PathBuf::from));
    let mut components = files.filter(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    components
        .next_back()
        .ok_or_else(|| failed("cargo built no component".to_owned()).help("`crate-type` must have \"cdylib\""))
}
