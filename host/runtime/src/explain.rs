//! What a plugin may do and why, for `occopus plugin explain`.

use crate::grants::Grants;
use crate::runtime::PluginInfo;

pub(crate) fn explain(info: &PluginInfo, grants: &Grants) -> String {
    let description = &info.description;
    let name = &description.name;
    let bundled = info.origin == "bundled";
    let granted = grants.plugins.get(name).cloned().unwrap_or_default();
    let mut lines = vec![
        format!("{name} {} ({}, {})", description.version, info.kind.name(), info.origin),
        "  files, environment, arguments: none, and not to be had".to_owned(),
    ];
    let mut ask = Vec::new();
    for need in &description.needs_network {
        let line = match need.as_str() {
            "endpoint" => "network: host and port of the `endpoint` of the section at hand".to_owned(),
            "announced" => "network: hosts that this endpoint names in its answers, without secrets".to_owned(),
            "node-address" => "network: the addresses of the node at hand".to_owned(),
            other if bundled => format!("network: {other} (bundled plugins get what they need)"),
            other => {
                ask.push(format!("      network: [\"{other}\"]"));
                format!("network: asks for {other}")
            }
        };
        lines.push(format!("  {line}"));
    }
    if description.needs_network.is_empty() {
        lines.push("  network: none".to_owned());
    }
    for target in &granted.network {
        lines.push(format!("  network: {target} (granted by the configuration)"));
    }
    for need in &description.needs_interfaces {
        let is_granted = granted.interfaces.iter().any(|interface| interface.name() == need);
        let why = match (is_granted, bundled && need != "reveal") {
            (true, _) => "granted by the configuration",
            (false, true) => "bundled plugins get what they need",
            (false, false) => {
                ask.push(format!("      interfaces: [{need}]"));
                "asked for, not granted"
            }
        };
        lines.push(format!("  {need}: {why}"));
    }
    lines.push("  link-local and metadata addresses: refused, unless granted by that very address".to_owned());
    lines.push(match &description.credentials_schema {
        Some(_) => "  credentials: used through the host, never seen".to_owned(),
        None => "  credentials: none".to_owned(),
    });
    if !ask.is_empty() {
        lines.push("  To grant what it asks for, write into the configuration:".to_owned());
        lines.push("    plugins:".to_owned());
        lines.push(format!("      {name}:"));
        lines.extend(ask.into_iter().map(|line| format!("  {line}")));
    }
    lines.join("\n") + "\n"
}
