//! `occopus plugin`

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use occopus::{InstallError, InstalledPlugins, Occopus};
use occopus_conformance::{Outcome, ProgressEvent};
use occopus_engine::StopSignal;
use occopus_runtime::grants::Interface;
use occopus_runtime::{PluginInfo, Runtime, read_component};
use serde_json::json;

use super::args::{GlobalArgs, Language, OutputFormat, PluginCommand};
use super::backend::Backend;
use super::failure::Failure;
use super::{backend, print, signals};

mod details;
mod project;
mod wit;

pub(crate) use details::{PluginDetails, PluginNeeds};

pub(crate) async fn run(plugin: PluginCommand, common: &GlobalArgs) -> Result<(), Failure> {
    match plugin {
        PluginCommand::List { output } => {
            let (plugins, broken) = list_plugins(&backend::open_backend(common)?).await?;
            print_plugins(&plugins, broken, output.format);
            Ok(())
        }
        PluginCommand::Inspect { name, output } => {
            let (plugins, _) = list_plugins(&backend::open_backend(common)?).await?;
            inspect(&plugins, &name, output.format)
        }
        PluginCommand::New { name, kind, lang: Language::Rust, sdk } => {
            project::new(&name, kind.into(), sdk.as_deref())
        }
        PluginCommand::Wit { kind, folder } => wit::write(kind.into(), &folder),
        PluginCommand::Explain { name } => explain(backend::open_local(common)?, &name).await,
        PluginCommand::Build { folder } => build(&backend::open_local(common)?, &folder).await,
        PluginCommand::Check { file, output } => check(&backend::open_local(common)?, &file, output.format).await,
        PluginCommand::Test { file, with, output } => {
            test(&backend::open_local(common)?, &file, &with, output.format, common.verbose > 0).await
        }
        PluginCommand::Install { file, yes, replace } => {
            install(&backend::open_local(common)?, &file, InstallConsent { yes, replace }).await
        }
        PluginCommand::Remove { name } => remove(&backend::open_local(common)?, &name),
    }
}

async fn explain(occopus: Occopus, name: &str) -> Result<(), Failure> {
    match occopus.runtime().await?.explain(name) {
        Some(text) => print::line(text.trim_end()),
        None => {
            let (plugins, _) = list_plugins(&Backend::Local(Box::new(occopus))).await?;
            return Err(unknown_plugin(&plugins, name));
        }
    }
    Ok(())
}

/// Loads a file as the only plugin of a runtime, and returns both.
async fn examine(occopus: &Occopus, file: &Path) -> Result<(Arc<Runtime>, PluginInfo), Failure> {
    let runtime = occopus.runtime_for_file(file).await?;
    match (runtime.list().pop(), runtime.load_errors().first()) {
        (Some(info), None) => Ok((runtime, info)),
        (_, error) => {
            let text = error.map_or("the plugin is not usable", String::as_str);
            Err(Failure::new("plugin.unusable", text))
        }
    }
}

async fn build(occopus: &Occopus, folder: &Path) -> Result<(), Failure> {
    let component = project::build(folder)?;
    let (_, info) = examine(occopus, &component).await?;
    let (name, kind, size) = (&info.description.name, info.kind.name(), info.size.div_ceil(1024));
    print::note(format_args!("{name} is a {kind} of {size} KiB"));
    print::line(component.display());
    Ok(())
}

async fn check(occopus: &Occopus, file: &Path, format: OutputFormat) -> Result<(), Failure> {
    let (_, info) = examine(occopus, file).await?;
    let undeclared: Vec<&str> = Interface::ALL
        .into_iter()
        .map(Interface::name)
        .filter(|name| info.imports.iter().any(|import| import.starts_with(&format!("occopus:host/{name}@"))))
        .filter(|name| !info.description.needs_interfaces.iter().any(|need| need == name))
        .collect();
    match format {
        OutputFormat::Json => {
            let mut value = json!(PluginDetails::from(&info));
            value["size"] = json!(info.size);
            value["imports"] = json!(info.imports);
            value["undeclared"] = json!(undeclared);
            print::json(&value);
        }
        OutputFormat::Text => {
            PluginDetails::from(&info).print();
            print::line(format_args!("size:        {} KiB", info.size.div_ceil(1024)));
            print::line(format_args!("imports:     {}", info.imports.join(", ")));
            print::line("");
            print::line(info.explain().trim_end());
        }
    }
    if undeclared.is_empty() {
        return Ok(());
    }
    let list = undeclared.join(", ");
    Err(Failure::new("plugin.undeclared", format_args!("the plugin imports {list}, but does not declare it")))
}

/// Number of the plugin's last lines that are shown for a failed check.
const MAX_SHOWN_OUTPUT_LINES: usize = 20;

fn print_check(event: &ProgressEvent, verbose: bool) {
    let check = match event {
        ProgressEvent::InProgress { check, step, seconds } => {
            let step = if step.is_empty() { String::new() } else { format!(": {step}") };
            print::note(format_args!("...   {check:18} {seconds} s{step}"));
            return;
        }
        ProgressEvent::Ended(check) => check,
    };
    let sign = match check.outcome {
        Outcome::Passed => "ok  ",
        Outcome::Failed => "FAIL",
        Outcome::Skipped => "skip",
        Outcome::Untried => "-   ",
    };
    print::line(format_args!("{sign}  {:18} {}", check.name, check.note));
    let shown_lines = match check.outcome {
        _ if verbose => check.output.len(),
        Outcome::Failed => MAX_SHOWN_OUTPUT_LINES,
        _ => 0,
    };
    for line in check.output.iter().skip(check.output.len().saturating_sub(shown_lines)) {
        print::line(format_args!("        plugin: {line}"));
    }
}

async fn test(
    occopus: &Occopus,
    file: &Path,
    fixture: &Path,
    format: OutputFormat,
    verbose: bool,
) -> Result<(), Failure> {
    let on_progress = move |event: &ProgressEvent<'_>| {
        if format == OutputFormat::Text {
            print_check(event, verbose);
        }
    };
    let stop = StopSignal::default();
    signals::listen(stop.clone(), "stopping, and removing what was made");
    let report = occopus.test_plugin(file, fixture, stop.clone(), on_progress).await?;
    let [passed, failed, skipped, untried] =
        [Outcome::Passed, Outcome::Failed, Outcome::Skipped, Outcome::Untried].map(|outcome| report.count(outcome));
    match format {
        OutputFormat::Json => print::json(&report),
        OutputFormat::Text => {
            print::line("");
            for usage in &report.usage {
                let (slowest, memory) = (usage.slowest_seconds * 1000.0, usage.memory_bytes.div_ceil(1024));
                print::line(format_args!(
                    "{:18} {:5} calls, the slowest {slowest:.0} ms, at most {memory} KiB of memory",
                    usage.function, usage.calls
                ));
            }
            print::line("");
            let untried = if untried > 0 { format!(", {untried} not tried") } else { String::new() };
            print::line(format_args!(
                "{}: {passed} passed, {failed} failed, {skipped} skipped{untried}",
                report.plugin
            ));
        }
    }
    if failed == 0 {
        return Ok(());
    }
    if stop.request_count() > 0 {
        return Err(Failure::new("plugin.interrupted", "the tests were interrupted"));
    }
    let text = format_args!("{} violates its contract", report.plugin);
    Err(Failure::new("plugin.conformance", text))
}

async fn install(occopus: &Occopus, file: &Path, consent: InstallConsent) -> Result<(), Failure> {
    let (_, info) = examine(occopus, file).await?;
    let info = resolve_as_installed(occopus, file, info, consent.replace).await?;
    let description = &info.description;
    print::note("After the installation:");
    print::note(info.explain().trim_end());
    let (kind, keyword) = (info.kind, &description.keyword);
    let list = occopus.runtime().await?.list();
    let replaced = list.into_iter().find(|other| other.kind == kind && other.description.keyword == *keyword);
    if let Some(other) = &replaced {
        let (version, origin) = (&other.description.version, &other.origin);
        print::note(format_args!("It replaces the {} `{keyword}` {version} ({origin}).", kind.name()));
    }
    // Another version of the same plugin is not another plugin.
    let replaced = replaced.filter(|other| other.is_bundled || other.description.name != description.name);
    let granted = info.granted.words();
    let name = &description.name;
    let needs_consent = match (granted.is_empty(), &replaced) {
        (true, None) => None,
        (false, None) => Some(format!("grant {} to {name}", granted.join(", "))),
        (true, Some(_)) => Some(format!("replace the {} `{keyword}`", kind.name())),
        (false, Some(_)) => {
            Some(format!("replace the {} `{keyword}` and grant {} to {name}", kind.name(), granted.join(", ")))
        }
    };
    if let Some(action) = needs_consent.filter(|_| !consent.yes) {
        ask_consent(&action)?;
    }
    let bytes = read_component(file).map_err(|error| unreadable(file, &error))?;
    let mut installed = InstalledPlugins::read(&occopus.plugin_directory()).map_err(install_failure)?;
    let path = installed.install(&info, &bytes, consent.replace).map_err(install_failure)?;
    print::line(format_args!("installed {name} {} as {}", description.version, path.display()));
    Ok(())
}

/// Consent that the user gave on the command line.
struct InstallConsent {
    yes: bool,
    replace: bool,
}

/// Returns the plugin as it will be beside the others, with its grants.
async fn resolve_as_installed(
    occopus: &Occopus,
    file: &Path,
    info: PluginInfo,
    replace: bool,
) -> Result<PluginInfo, Failure> {
    let runtime = occopus.runtime_as_installed(file, &info, replace).await?;
    let is_this = |other: &PluginInfo| !other.is_bundled && other.digest == info.digest;
    if let Some(found) = runtime.list().into_iter().find(is_this) {
        return Ok(found);
    }
    let origin = file.display().to_string();
    let error = runtime.load_errors().into_iter().find(|message| message.starts_with(&origin));
    Err(Failure::new("plugin.refused", error.as_deref().unwrap_or("the plugin is not usable beside the others")))
}

/// Asks for consent on a terminal. `action` completes the question ("grant ... to ...").
fn ask_consent(action: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let text = format_args!("consent is required to {action}");
        return Err(Failure::new("plugin.consent", text));
    }
    let mut letters = action.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    print_question(&format!("{}? [y/N] ", first.chain(letters).collect::<String>()));
    let mut answer = String::new();
    let _ = io::stdin().read_line(&mut answer);
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new("plugin.consent", "nothing was installed"))
}

fn remove(occopus: &Occopus, name: &str) -> Result<(), Failure> {
    let mut installed = InstalledPlugins::read(&occopus.plugin_directory()).map_err(install_failure)?;
    let removed = installed.remove(name).map_err(install_failure)?;
    if removed.is_empty() {
        return Err(Failure::new("plugin.unknown", format_args!("plugin {name} is not installed")));
    }
    for path in removed {
        print::line(format_args!("removed {}", path.display()));
    }
    Ok(())
}

fn print_question(question: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::new("plugin.unreadable", format_args!("{}: {error}", file.display()))
}

fn install_failure(error: InstallError) -> Failure {
    Failure::new("plugin.install", error)
}

/// Returns the plugins of a backend, and the messages of those that cannot be loaded.
async fn list_plugins(backend: &Backend) -> Result<(Vec<PluginDetails>, Vec<String>), Failure> {
    Ok(match backend {
        Backend::Local(occopus) => {
            let runtime = occopus.runtime().await?;
            (runtime.list().iter().map(PluginDetails::from).collect(), runtime.load_errors())
        }
        Backend::Service(service) => (service.plugins().await?, Vec::new()),
    })
}

fn print_plugins(plugins: &[PluginDetails], broken: Vec<String>, format: OutputFormat) {
    match format {
        OutputFormat::Json => {
            let details: Vec<_> = plugins.iter().map(PluginDetails::to_json_without_schemas).collect();
            print::json(&json!({ "plugins": details, "broken": broken }));
        }
        OutputFormat::Text => details::print_list(plugins),
    }
    for message in broken {
        print::note(format_args!("warning: {message}"));
    }
}

fn inspect(plugins: &[PluginDetails], name: &str, format: OutputFormat) -> Result<(), Failure> {
    let mut found = plugins.iter().filter(|plugin| plugin.is_named(name)).peekable();
    if found.peek().is_none() {
        return Err(unknown_plugin(plugins, name));
    }
    found.for_each(|plugin| match format {
        OutputFormat::Json => print::json(plugin),
        OutputFormat::Text => plugin.print(),
    });
    Ok(())
}

fn unknown_plugin(plugins: &[PluginDetails], name: &str) -> Failure {
    let names: Vec<_> = plugins.iter().map(|plugin| plugin.keyword.as_str()).collect();
    Failure::new("plugin.unknown", format_args!("plugin {name} not found"))
        .help(format_args!("available plugins: {}", names.join(", ")))
}
