//! Index of a runtime's plugins, each described once, by kind and keyword.

use std::collections::HashMap;
use std::sync::Arc;

use crate::admission::{self, Candidate, Trust};
use crate::error::RuntimeError;
use crate::kind::PluginKind;
use crate::plugin::Plugin;
use crate::runtime::RuntimeCore;

/// Admitted plugins.
#[derive(Default)]
pub(crate) struct PluginIndex {
    pub(crate) by_keyword: HashMap<(PluginKind, String), Arc<Plugin>>,
    /// Contextualiser `basic` of this program, also if it was replaced.
    pub(crate) basic_contextualiser: Option<Arc<Plugin>>,
    /// Errors of usable plugins that are not admitted.
    pub(crate) rejected: Vec<RuntimeError>,
}

impl RuntimeCore {
    pub(crate) fn plugin(&self, kind: PluginKind, keyword: &str) -> Option<Arc<Plugin>> {
        self.index().by_keyword.get(&(kind, keyword.to_owned())).cloned()
    }

    /// Returns the bundled contextualiser `basic`, which renders what decides about credentials and grants.
    pub(crate) fn basic_contextualiser(&self) -> Option<Arc<Plugin>> {
        self.index().basic_contextualiser.clone()
    }

    pub(crate) fn index(&self) -> &PluginIndex {
        self.index.get_or_init(|| {
            let (mut index, mut described) = (PluginIndex::default(), Vec::new());
            for plugin in &self.plugins {
                match self.describe(plugin) {
                    Ok(_) => described.push(plugin),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
            let candidates: Vec<_> = described.iter().filter_map(|plugin| candidate(plugin)).collect();
            for ((plugin, candidate), rejection) in
                described.iter().zip(&candidates).zip(admission::rejection_reasons(&candidates))
            {
                let key = (plugin.kind, candidate.keyword.to_owned());
                if plugin.is_bundled() && key == basic_contextualiser_key() {
                    index.basic_contextualiser = Some(Arc::clone(plugin));
                }
                match rejection {
                    Some(message) => {
                        let error = RuntimeError::NotAdmitted { origin: plugin.label().to_owned(), message };
                        tracing::warn!("{error}");
                        index.rejected.push(error);
                    }
                    None => drop(index.by_keyword.insert(key, Arc::clone(plugin))),
                }
            }
            self.assign_grants(&index, &candidates);
            index
        })
    }

    /// Assigns to each plugin what the operator grants to it: in the configuration, and at its installation.
    fn assign_grants(&self, index: &PluginIndex, candidates: &[Candidate<'_>]) {
        let plugins: Vec<_> = index.by_keyword.values().collect();
        let all: Vec<_> = plugins.iter().filter_map(|plugin| candidate(plugin)).collect();
        let bundled: Vec<_> = candidates.iter().filter(|one| one.trust == Trust::Bundled).copied().collect();
        for (plugin, mut granted) in
            plugins.iter().zip(admission::operator_grants(&all, &bundled, &self.grants.plugins))
        {
            if let Some(consent) = &plugin.consent {
                granted.grants.add(&consent.grants);
            }
            let _ = plugin.granted.set(granted);
        }
    }
}

/// Returns the key of the contextualiser `basic`, whose bundled form renders what decides about credentials and grants.
pub(crate) fn basic_contextualiser_key() -> (PluginKind, String) {
    (PluginKind::Contextualiser, "basic".to_owned())
}

/// Returns a plugin as a candidate; none before it was described.
fn candidate(plugin: &Plugin) -> Option<Candidate<'_>> {
    let description = plugin.description.get()?;
    Some(Candidate {
        kind: plugin.kind,
        name: &description.name,
        keyword: &description.keyword,
        origin: plugin.label(),
        digest: &plugin.digest,
        trust: plugin.trust(),
        replaces: plugin.consent.as_ref().is_some_and(|consent| consent.replaces),
    })
}
