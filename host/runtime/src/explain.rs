//! Explanations of a plugin's grants, for `occopus plugin explain` and for the request for consent.

use crate::grants::{GrantSubject, Interface};
use crate::runtime::PluginInfo;

const BUNDLED_REASON: &str = "bundled plugins get what they need";
const GRANTED_REASON: &str = "granted by the configuration";

impl PluginInfo {
    /// Returns the plugin's grants and their reasons as text, computed like the grants of a call.
    pub fn explain(&self) -> String {
        let it = &self.description;
        let mut lines = vec![
            format!("{} {} ({}, {})", it.name, it.version, self.kind.name(), self.origin),
            format!("  chosen by `{}`", it.keyword),
            "  files, environment, arguments: none, and cannot be granted".to_owned(),
        ];
        lines.extend(self.network_lines());
        lines.extend(self.interface_lines());
        lines.push("  link-local and metadata addresses: refused, unless granted by that very address".to_owned());
        let reveals = self.grant_subject().interfaces().contains(&Interface::Reveal);
        lines.push(match (&it.credentials_schema, reveals) {
            (None, _) => "  credentials: none".to_owned(),
            (Some(_), false) => "  credentials: used through the host, never seen".to_owned(),
            (Some(_), true) => "  credentials: it sees the values, since `reveal` is granted".to_owned(),
        });
        lines.extend(self.grant_advice());
        lines.join("\n") + "\n"
    }

    fn grant_subject(&self) -> GrantSubject<'_> {
        GrantSubject {
            plugin: &self.description.name,
            bundled: self.is_bundled,
            needs_network: &self.description.needs_network,
            needs_interfaces: &self.description.needs_interfaces,
            operator: Some(&self.granted),
            ..GrantSubject::default()
        }
    }

    fn network_lines(&self) -> Vec<String> {
        let needs = &self.description.needs_network;
        let granted: Vec<_> = self.granted.network.iter().map(ToString::to_string).collect();
        let mut lines = Vec::new();
        for need in needs.iter().filter(|need| !granted.contains(need)) {
            lines.push(match need.as_str() {
                "endpoint" => "network: host and port of the `endpoint` of the section at hand".to_owned(),
                "node-address" => "network: the addresses of the node at hand".to_owned(),
                "announced" if self.is_bundled => format!("network: {ANNOUNCED_HOSTS} ({BUNDLED_REASON})"),
                "announced" => format!("network: asks for {ANNOUNCED_HOSTS}; not granted"),
                other if self.is_bundled => format!("network: {other} ({BUNDLED_REASON})"),
                other => format!("network: asks for {other}; not granted"),
            });
        }
        for target in &granted {
            let target = if target == "announced" { ANNOUNCED_HOSTS } else { target };
            lines.push(format!("network: {target} ({GRANTED_REASON})"));
        }
        if lines.is_empty() {
            lines.push("network: none".to_owned());
        }
        lines.into_iter().map(|line| format!("  {line}")).collect()
    }

    /// Returns a line for each interface that it needs or was granted.
    fn interface_lines(&self) -> Vec<String> {
        let (needs, has) = (&self.description.needs_interfaces, self.grant_subject().interfaces());
        let line = |interface: &Interface| {
            let name = interface.name();
            let is_needed = needs.iter().any(|need| need == name);
            let reason = match (has.contains(interface), self.granted.interfaces.contains(interface), is_needed) {
                (true, true, true) => GRANTED_REASON.to_owned(),
                (true, true, false) => format!("{GRANTED_REASON}, although it does not ask for it"),
                (true, false, _) => BUNDLED_REASON.to_owned(),
                (false, _, true) => "asked for, not granted".to_owned(),
                (false, _, false) => return None,
            };
            Some(format!("  {name}: {reason}"))
        };
        Interface::ALL.iter().filter_map(line).collect()
    }

    /// Returns the configuration that would grant the needs that it lacks.
    fn grant_advice(&self) -> Vec<String> {
        let it = &self.description;
        let granted = self.granted.words();
        let lacks = |need: &&String| !self.is_bundled && !granted.contains(need);
        let usual = ["endpoint", "node-address"];
        let network = it.needs_network.iter().filter(lacks).filter(|need| !usual.contains(&need.as_str()));
        let network: Vec<_> = network.map(|need| format!("\"{need}\"")).collect();
        let interfaces = it
            .needs_interfaces
            .iter()
            .filter(|need| !granted.contains(need) && (!self.is_bundled || need.as_str() == Interface::Reveal.name()));
        let interfaces: Vec<_> = interfaces.cloned().collect();
        let mut lines = Vec::new();
        for (key, list) in [("network", network), ("interfaces", interfaces)] {
            if !list.is_empty() {
                lines.push(format!("        {key}: [{}]", list.join(", ")));
            }
        }
        if lines.is_empty() {
            return lines;
        }
        let head = ["  To grant what it asks for, write into the configuration:".to_owned(), "    plugins:".to_owned()];
        head.into_iter().chain([format!("      {}:", self.config_key)]).chain(lines).collect()
    }
}

const ANNOUNCED_HOSTS: &str = "hosts that this endpoint names in its answers, without secrets";
