//! `occopus plugin`

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use occopus::{InstallError, Installed, Occopus};
use occopus_conformance::{Check, Outcome};
use occopus_engine::Stop;
use occopus_runtime::grants::Interface;
use occopus_runtime::{PluginInfo, Runtime};
use serde_json::{Value, json};

use super::args::{Common, Format, Language, Plugin};
use super::failure::{Exit, Failure};
use super::{print, session, signals};

mod project;
mod wit;

pub(crate) async fn run(plugin: Plugin, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let runtime = match &plugin {
        Plugin::New { name, kind, lang: Language::Rust, sdk } => {
            return project::new(name, (*kind).into(), sdk.as_deref());
        }
        Plugin::Wit { kind, folder } => return wit::write((*kind).into(), folder),
        Plugin::Build { folder } => return build(&occopus, folder).await,
        Plugin::Check { file, output } => return check(&occopus, file, output.format).await,
        Plugin::Test { file, with, output } => return test(&occopus, file, with, output.format).await,
        Plugin::Install { file, yes } => return install(&occopus, file, *yes).await,
        Plugin::Remove { name } => return remove(&occopus, name),
        Plugin::List { .. } | Plugin::Inspect { .. } | Plugin::Explain { .. } => occopus.runtime().await?,
    };
    match plugin {
        Plugin::List { output } => list(&runtime, output.format),
        Plugin::Inspect { name, output } => {
            let found: Vec<_> = runtime.list().into_iter().filter(|info| is_named(info, &name)).collect();
            if found.is_empty() {
                return Err(unknown(&runtime, &name));
            }
            for info in &found {
                match output.format {
                    Format::Json => print::json(&full(info)),
                    Format::Text => inspect(info),
                }
            }
        }
        Plugin::Explain { name } => match runtime.explain(&name) {
            Some(text) => print::line(text.trim_end()),
            None => return Err(unknown(&runtime, &name)),
        },
        Plugin::New { .. }
        | Plugin::Build { .. }
        | Plugin::Wit { .. }
        | Plugin::Check { .. }
        | Plugin::Test { .. }
        | Plugin::Install { .. }
        | Plugin::Remove { .. } => {}
    }
    Ok(())
}

/// A runtime with this one plugin, and what is known of it.
async fn examine(occopus: &Occopus, file: &Path) -> Result<(Arc<Runtime>, PluginInfo), Failure> {
    let runtime = occopus.runtime_of(file).await?;
    match (runtime.list().pop(), runtime.broken().first()) {
        (Some(info), None) => Ok((runtime, info)),
        (_, problem) => {
            let problem = problem.map_or("it can't be used", String::as_str);
            Err(Failure::new(Exit::Failed, "plugin.unusable", problem))
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

async fn check(occopus: &Occopus, file: &Path, format: Format) -> Result<(), Failure> {
    let (runtime, info) = examine(occopus, file).await?;
    let undeclared: Vec<&str> = Interface::ALL
        .into_iter()
        .map(Interface::name)
        .filter(|name| info.imports.iter().any(|import| import.starts_with(&format!("occopus:host/{name}@"))))
        .filter(|name| !info.description.needs_interfaces.iter().any(|need| need == name))
        .collect();
    match format {
        Format::Json => {
            let mut value = full(&info);
            value["size"] = json!(info.size);
            value["imports"] = json!(info.imports);
            value["undeclared"] = json!(undeclared);
            print::json(&value);
        }
        Format::Text => {
            inspect(&info);
            print::line(format_args!("size:        {} KiB", info.size.div_ceil(1024)));
            print::line(format_args!("imports:     {}", info.imports.join(", ")));
            print::line("");
            print::line(runtime.explain(&info.description.name).unwrap_or_default().trim_end());
        }
    }
    if undeclared.is_empty() {
        return Ok(());
    }
    let list = undeclared.join(", ");
    Err(Failure::new(
        Exit::Failed,
        "plugin.undeclared",
        format_args!("it imports {list}, and does not say that it needs it"),
    )
    .help("name it in `needs.interfaces` of its description; otherwise every call of it is refused"))
}

async fn test(occopus: &Occopus, file: &Path, fixture: &Path, format: Format) -> Result<(), Failure> {
    let tell = move |check: &Check| {
        if format == Format::Text {
            let sign = match check.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Failed => "FAIL",
                Outcome::Skipped => "skip",
            };
            print::line(format_args!("{sign}  {:18} {}", check.name, check.note));
        }
    };
    let stop = Stop::default();
    signals::listen(stop.clone(), "stopping: what was made is removed");
    let report = occopus.test_plugin(file, fixture, stop.clone(), tell).await?;
    let [passed, failed, skipped] = [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|it| report.count(it));
    match format {
        Format::Json => print::json(&report),
        Format::Text => {
            print::line("");
            for it in &report.usage {
                let (slowest, memory) = (it.slowest_seconds * 1000.0, it.memory_bytes.div_ceil(1024));
                print::line(format_args!(
                    "{:18} {:5} calls, the slowest {slowest:.0} ms, at most {memory} KiB of memory",
                    it.function, it.calls
                ));
            }
            print::line("");
            print::line(format_args!("{}: {passed} passed, {failed} failed, {skipped} skipped", report.plugin));
        }
    }
    if failed == 0 {
        return Ok(());
    }
    if stop.level() > 0 {
        return Err(Failure::new(Exit::Interrupted, "plugin.interrupted", "the tests were interrupted"));
    }
    let text = format_args!("{} does not keep its contract", report.plugin);
    Err(Failure::new(Exit::Failed, "plugin.conformance", text).help("docs/writing-plugins.md has the promises"))
}

async fn install(occopus: &Occopus, file: &Path, yes: bool) -> Result<(), Failure> {
    let (runtime, info) = examine(occopus, file).await?;
    let it = &info.description;
    print::note(runtime.explain(&it.name).unwrap_or_default().trim_end());
    let (kind, keyword) = (info.kind, &it.keyword);
    let replaced = occopus
        .runtime()
        .await?
        .list()
        .into_iter()
        .find(|other| other.kind == kind && other.description.keyword == *keyword);
    if let Some(other) = replaced {
        let (version, origin) = (&other.description.version, &other.origin);
        print::note(format_args!("It replaces the {} `{keyword}` {version} ({origin}).", kind.name()));
    }
    let (network, interfaces) = Installed::asks_for(&info);
    let asked: Vec<String> = network.into_iter().chain(interfaces).collect();
    if !asked.is_empty() && !yes {
        if !io::stdin().is_terminal() {
            let text = format_args!("{} asks for {}, and nobody has agreed", it.name, asked.join(", "));
            return Err(Failure::new(Exit::Failed, "plugin.consent", text).help("`--yes` agrees"));
        }
        eprint_question(&format!("Grant {} to {}? [y/N] ", asked.join(", "), it.name));
        let mut answer = String::new();
        let _ = io::stdin().read_line(&mut answer);
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Failure::new(Exit::Failed, "plugin.consent", "nothing was installed"));
        }
    }
    let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let mut installed = Installed::read(&occopus.plugin_directory()).map_err(failed)?;
    let path = installed.install(&info, &bytes).map_err(failed)?;
    print::line(format_args!("{} {} is installed as {}", it.name, it.version, path.display()));
    Ok(())
}

fn remove(occopus: &Occopus, name: &str) -> Result<(), Failure> {
    let mut installed = Installed::read(&occopus.plugin_directory()).map_err(failed)?;
    let removed = installed.remove(name).map_err(failed)?;
    if removed.is_empty() {
        return Err(Failure::new(Exit::Failed, "plugin.unknown", format_args!("no plugin {name} was installed")));
    }
    for path in removed {
        print::line(format_args!("{} is removed", path.display()));
    }
    Ok(())
}

fn eprint_question(question: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, "plugin.unreadable", format_args!("{}: {error}", file.display()))
}

fn failed(error: InstallError) -> Failure {
    Failure::new(Exit::Failed, "plugin.install", error)
}

fn is_named(info: &PluginInfo, name: &str) -> bool {
    info.description.name == name || info.description.keyword == name
}

fn list(runtime: &Arc<Runtime>, format: Format) {
    let (plugins, broken) = (runtime.list(), runtime.broken());
    match format {
        Format::Json => {
            let plugins: Vec<_> = plugins.iter().map(brief).collect();
            print::json(&json!({ "plugins": plugins, "broken": broken }));
        }
        Format::Text => {
            let widest = |cell: fn(&PluginInfo) -> usize| plugins.iter().map(cell).max().unwrap_or_default();
            let (kind, keyword) = (widest(|it| it.kind.name().len()), widest(|it| it.description.keyword.len()));
            for info in &plugins {
                let it = &info.description;
                let from = if info.origin == "bundled" { String::new() } else { format!(" ({})", info.origin) };
                print::line(format_args!(
                    "{:kind$}  {:keyword$}  {}  {}{from}",
                    info.kind.name(),
                    it.keyword,
                    it.version,
                    it.summary
                ));
            }
        }
    }
    for message in broken {
        print::note(format_args!("warning: {message}"));
    }
}

fn inspect(info: &PluginInfo) {
    let it = &info.description;
    let or_none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    print::line(format_args!("{} {}: {}", it.name, it.version, it.summary));
    print::line(format_args!("kind:        {} (contract {})", info.kind.name(), info.contract));
    print::line(format_args!("keyword:     {}", it.keyword));
    print::line(format_args!("origin:      {}", info.origin));
    print::line(format_args!("sha256:      {}", info.digest));
    print::line(format_args!("network:     {}", or_none(&it.needs_network)));
    print::line(format_args!("interfaces:  {}", or_none(&it.needs_interfaces)));
    schema("section", Some(&it.section_schema));
    schema("credentials", it.credentials_schema.as_deref());
}

fn schema(what: &str, schema: Option<&Value>) {
    match schema {
        Some(schema) => print::line(format_args!("{what}:\n{schema:#}")),
        None => print::line(format_args!("{what}: none")),
    }
}

fn brief(info: &PluginInfo) -> Value {
    let it = &info.description;
    json!({
        "kind": info.kind,
        "keyword": it.keyword,
        "name": it.name,
        "version": it.version,
        "summary": it.summary,
        "origin": info.origin,
        "sha256": info.digest,
        "contract": info.contract,
        "needs": { "network": it.needs_network, "interfaces": it.needs_interfaces },
    })
}

fn full(info: &PluginInfo) -> Value {
    let mut value = brief(info);
    value["section_schema"] = (*info.description.section_schema).clone();
    value["credentials_schema"] = json!(info.description.credentials_schema.as_deref());
    value
}

fn unknown(runtime: &Runtime, name: &str) -> Failure {
    let names: Vec<_> = runtime.list().into_iter().map(|info| info.description.keyword).collect();
    Failure::new(Exit::Failed, "plugin.unknown", format_args!("there is no plugin {name}"))
        .help(format_args!("there are {}", names.join(", ")))
}
