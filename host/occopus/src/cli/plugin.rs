//! `occopus plugin`

use std::sync::Arc;

use occopus_runtime::{PluginInfo, Runtime};
use serde_json::{Value, json};

use super::args::{Common, Format, Plugin};
use super::failure::{Exit, Failure};
use super::{print, session};

pub(crate) async fn run(plugin: Plugin, common: &Common) -> Result<(), Failure> {
    let runtime = session::open(common)?.runtime().await?;
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
    }
    Ok(())
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
