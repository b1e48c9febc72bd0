//! The plugins of a runtime, each described once, by kind and keyword.

use std::collections::HashMap;
use std::sync::Arc;

use crate::admission::{self, Candidate, Trust};
use crate::error::RuntimeError;
use crate::kind::Kind;
use crate::plugin::Plugin;
use crate::runtime::Shared;

/// The plugins that are taken in.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) by_keyword: HashMap<(Kind, String), Arc<Plugin>>,
    /// The contextualiser `basic` that came with the program, also where it was replaced.
    pub(crate) templates: Option<Arc<Plugin>>,
    /// Plugins that work and are left out.
    pub(crate) left_out: Vec<RuntimeError>,
}

impl Shared {
    pub(crate) fn plugin(&self, kind: Kind, keyword: &str) -> Option<Arc<Plugin>> {
        self.index().by_keyword.get(&(kind, keyword.to_owned())).cloned()
    }

    /// Returns the contextualiser that renders what decides about credentials and grants.
    pub(crate) fn templates(&self) -> Option<Arc<Plugin>> {
        self.index().templates.clone()
    }

    pub(crate) fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let (mut index, mut described) = (Index::default(), Vec::new());
            for plugin in &self.plugins {
                match self.describe(plugin) {
                    Ok(_) => described.push(plugin),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
            let candidates: Vec<_> = described.iter().filter_map(|plugin| candidate(plugin)).collect();
            for ((plugin, candidate), refused) in described.iter().zip(&candidates).zip(admission::refused(&candidates))
            {
                let key = (plugin.kind, candidate.keyword.to_owned());
                if plugin.is_bundled() && key == templates_key() {
                    index.templates = Some(Arc::clone(plugin));
                }
                match refused {
                    Some(message) => {
                        let error = RuntimeError::LeftOut { origin: plugin.label().to_owned(), message };
                        tracing::warn!("{error}");
                        index.left_out.push(error);
                    }
                    None => drop(index.by_keyword.insert(key, Arc::clone(plugin))),
                }
            }
            self.grant(&index, &candidates);
            index
        })
    }

    /// Tells each plugin what the operator grants to it: in the configuration, and at its installation.
    fn grant(&self, index: &Index, candidates: &[Candidate<'_>]) {
        let plugins: Vec<_> = index.by_keyword.values().collect();
        let all: Vec<_> = plugins.iter().filter_map(|plugin| candidate(plugin)).collect();
        let bundled: Vec<_> = candidates.iter().filter(|one| one.trust == Trust::Bundled).copied().collect();
        for (plugin, mut granted) in plugins.iter().zip(admission::configured(&all, &bundled, &self.grants.plugins)) {
            if let Some(pin) = &plugin.pin {
                granted.grants.add(&pin.grants);
            }
            let _ = plugin.granted.set(granted);
        }
    }
}

/// Returns the key of the contextualiser whose bundled form renders what decides.
pub(crate) fn templates_key() -> (Kind, String) {
    (Kind::Contextualiser, "basic".to_owned())
}

/// Returns a plugin as it stands beside others; none before it was described.
fn candidate(plugin: &Plugin) -> Option<Candidate<'_>> {
    let description = plugin.description.get()?;
    Some(Candidate {
        kind: plugin.kind,
        name: &description.name,
        keyword: &description.keyword,
        digest: &plugin.digest,
        trust: plugin.trust(),
        replaces: plugin.pin.as_ref().is_some_and(|pin| pin.replaces),
    })
}
