//! Certificates in a file of credentials. The host uses them for connections; no plugin gets them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Secret;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files;
use crate::yaml::Item;

/// Keys that every rule may have beside those of its plugin.
const KEYS: [&str; 3] = ["ca", "client_certificate", "client_key"];
/// Maximum bytes of a file of certificates.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// Certificates for connections to a section's endpoint, in PEM (RFC 7468).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that are trusted, instead of those of the system.
    pub ca: Option<String>,
    /// Client certificate with its chain up to the authority, and its private key.
    pub client: Option<(String, Secret)>,
}

impl Tls {
    /// Returns true if connections are made as they are without certificates.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Takes the certificates out of `auth_data`, and returns them with what remains for the plugin. A key that the
/// plugin's schema has itself stays. Each certificate is PEM, or the path of a file with it, which is added to `named`.
pub(super) fn extract(
    data: &Item,
    schema: Option<&Value>,
    named: &mut Vec<PathBuf>,
    diagnostics: &mut Diagnostics,
) -> (Tls, Item) {
    let properties = schema.and_then(|schema| schema.get("properties"));
    let is_own = |name: &str| properties.is_some_and(|properties| properties.get(name).is_some());
    let host_keys: Vec<&str> = KEYS.into_iter().filter(|name| !is_own(name)).collect();
    let present = |name: &str| data.get(name).filter(|_| host_keys.contains(&name));
    let [ca, certificate, key] =
        KEYS.map(|name| present(name).and_then(|item| read_pem(name, item, named, diagnostics)));
    for (one, other) in [(KEYS[1], KEYS[2]), (KEYS[2], KEYS[1])] {
        if let Some(item) = present(one).filter(|_| present(other).is_none()) {
            let diagnostic = Diagnostic::error("credentials.certificate", format!("`{one}` needs `{other}` beside it"));
            diagnostics.push(diagnostic.at(&item.at, "alone here"));
        }
    }
    let client = certificate.zip(key).map(|(certificate, key)| (certificate, Secret::new(key)));
    (Tls { ca, client }, data.without(&host_keys))
}

fn read_pem(name: &str, item: &Item, named: &mut Vec<PathBuf>, diagnostics: &mut Diagnostics) -> Option<String> {
    let mut report = |message: String| {
        let diagnostic = Diagnostic::error("credentials.certificate", message).at(&item.at, "here");
        diagnostics.push(diagnostic.help("name a file in PEM, or write the PEM itself as a block (`|`)"));
        None
    };
    // A broken tag is reported already.
    let text = item.str()?;
    // The stand-in for the output of a command that is not run.
    if text.contains("{{") {
        return None;
    }
    let text = if text.trim_start().starts_with("-----BEGIN") {
        text.to_owned()
    } else {
        let path = match (text.strip_prefix("~/"), std::env::home_dir()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => item.node.span.source.path.parent().unwrap_or(Path::new("")).join(text),
        };
        named.push(path.clone());
        match files::read_text(&path, MAX_PEM_BYTES) {
            Ok(text) => text,
            Err(error) => return report(format!("`{name}`: {} can't be read: {error}", path.display())),
        }
    };
    let marker = if name == KEYS[2] { "PRIVATE KEY-----" } else { "BEGIN CERTIFICATE-----" };
    if !text.contains(marker) {
        return report(format!("`{name}` has no `{marker}` in it"));
    }
    // Nothing of it is printed: it may be a key.
    if text.lines().any(|line| line.contains("-----") && !is_pem_boundary(line)) {
        return report(format!("`{name}` is not PEM: its line breaks are missing"));
    }
    Some(text)
}

/// Returns true for a line that is a boundary of a PEM block, and nothing else.
fn is_pem_boundary(line: &str) -> bool {
    let inner = line.trim().strip_prefix("-----").and_then(|rest| rest.strip_suffix("-----"));
    inner.is_some_and(|inner| (inner.starts_with("BEGIN ") || inner.starts_with("END ")) && !inner.contains("-----"))
}
