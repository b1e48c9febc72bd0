//! The plugins of a runtime by kind and keyword. Each is described once, when the first is needed; then it is decided which
//! are admitted, and what the operator grants to each.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use occopus_engine::ports::OpenDecisions;

use crate::admission::{self, Candidate, Trust};
use crate::calls::RuntimeCore;
use crate::error::RuntimeError;
use crate::grants::{Interface, PluginGrants};
use crate::kind::PluginKind;
use crate::plugin::{Description, Plugin, PluginBinary, PluginSource};
use crate::sections::fillable_keys;

/// Plugins as they were read, and their index.
pub(crate) struct Registry {
    core: Arc<RuntimeCore>,
    /// Plugins that could be read, in the order of their sources.
    binaries: Vec<Arc<PluginBinary>>,
    /// Errors of the plugins that could not be read.
    unreadable: Vec<RuntimeError>,
    index: OnceLock<PluginIndex>,
}

/// Admitted plugins.
#[derive(Default)]
pub(crate) struct PluginIndex {
    pub(crate) by_keyword: HashMap<(PluginKind, String), Arc<Plugin>>,
    /// Contextualiser `basic` of this program, also if it was replaced.
    pub(crate) basic_contextualiser: Option<Arc<Plugin>>,
    /// Errors of plugins that are not admitted, or can't describe themselves.
    rejected: Vec<RuntimeError>,
}

impl Registry {
    pub(crate) fn new(core: Arc<RuntimeCore>, sources: Vec<PluginSource>) -> Self {
        let (mut binaries, mut unreadable) = (Vec::new(), Vec::new());
        for source in sources {
            match PluginBinary::new(source) {
                Ok(binary) => binaries.push(Arc::new(binary)),
                Err(error) => {
                    tracing::warn!("{error}");
                    unreadable.push(error);
                }
            }
        }
        Self { core, binaries, unreadable, index: OnceLock::new() }
    }

    /// Waits for the index, which is made on a thread for blocking work.
    pub(crate) async fn describe_plugins(self: &Arc<Self>) {
        if self.index.get().is_some() {
            return;
        }
        let registry = Arc::clone(self);
        let described = tokio::task::spawn_blocking(move || {
            registry.index();
        });
        // Its only error is a panic, which the next use of the index repeats.
        let _ = described.await;
    }

    /// Returns the index. Blocks until each plugin has described itself, unless that was done before.
    pub(crate) fn index(&self) -> &PluginIndex {
        self.index.get_or_init(|| {
            let (mut described, mut failed) = (Vec::new(), Vec::new());
            for binary in &self.binaries {
                match self.core.describe(binary) {
                    Ok(description) => described.push((binary, description)),
                    Err(error) => failed.push(error),
                }
            }
            let mut index = PluginIndex::of(described, &self.core.grants.plugins);
            index.rejected.extend(failed);
            index.rejected.iter().for_each(|error| tracing::warn!("{error}"));
            index
        })
    }

    pub(crate) fn plugin(&self, kind: PluginKind, keyword: &str) -> Option<Arc<Plugin>> {
        self.index().by_keyword.get(&(kind, keyword.to_owned())).cloned()
    }

    /// Returns the bundled contextualiser `basic`, which renders what decides about credentials and grants.
    pub(crate) fn basic_contextualiser(&self) -> Option<Arc<Plugin>> {
        self.index().basic_contextualiser.clone()
    }

    /// Returns the decisions that a driver leaves to others.
    pub(crate) fn open_decisions(&self, driver: &str) -> OpenDecisions {
        let Some(plugin) = self.plugin(PluginKind::Driver, driver) else { return OpenDecisions::default() };
        OpenDecisions {
            fillable: fillable_keys(&plugin.description.section_schema),
            runs_programs: plugin.grant_subject().interfaces().contains(&Interface::Process),
        }
    }

    /// Returns the messages of all plugins that could not be read, or are not usable.
    pub(crate) fn load_errors(&self) -> Vec<String> {
        self.unreadable.iter().chain(&self.index().rejected).map(ToString::to_string).collect()
    }
}

impl PluginIndex {
    /// Returns the index of described plugins, with what the operator grants to each: in the configuration, and at its
    /// installation.
    fn of(described: Vec<(&Arc<PluginBinary>, Description)>, configuration: &BTreeMap<String, PluginGrants>) -> Self {
        let candidates: Vec<_> = described.iter().map(|(binary, description)| candidate(binary, description)).collect();
        let (mut last, mut basic, mut rejected) = (HashMap::new(), None, Vec::new());
        for (at, rejection) in admission::rejection_reasons(&candidates).into_iter().enumerate() {
            let (binary, _) = &described[at];
            let key = (binary.kind, candidates[at].keyword.to_owned());
            if binary.is_bundled() && key == basic_contextualiser_key() {
                basic = Some(at);
            }
            match rejection {
                Some(message) => {
                    rejected.push(RuntimeError::NotAdmitted { origin: binary.label().to_owned(), message });
                }
                None => drop(last.insert(key, at)),
            }
        }
        let admitted: Vec<_> = last.values().copied().collect();
        let all: Vec<_> = admitted.iter().map(|at| candidates[*at]).collect();
        let bundled: Vec<_> = candidates.iter().filter(|one| one.trust == Trust::Bundled).copied().collect();
        let mut granted = HashMap::new();
        for (at, mut grants) in admitted.iter().zip(admission::operator_grants(&all, &bundled, configuration)) {
            if let Some(consent) = &described[*at].0.consent {
                grants.grants.add(&consent.grants);
            }
            granted.insert(*at, grants);
        }
        let to_plugin = |(at, (binary, description)): (usize, (&Arc<PluginBinary>, Description))| {
            Arc::new(Plugin { binary: Arc::clone(binary), description, granted: granted.remove(&at) })
        };
        let plugins: Vec<_> = described.into_iter().enumerate().map(to_plugin).collect();
        Self {
            by_keyword: last.into_iter().map(|(key, at)| (key, Arc::clone(&plugins[at]))).collect(),
            basic_contextualiser: basic.map(|at| Arc::clone(&plugins[at])),
            rejected,
        }
    }
}

/// Returns the key of the contextualiser `basic`, whose bundled form renders what decides about credentials and grants.
pub(crate) fn basic_contextualiser_key() -> (PluginKind, String) {
    (PluginKind::Contextualiser, "basic".to_owned())
}

fn candidate<'a>(binary: &'a PluginBinary, description: &'a Description) -> Candidate<'a> {
    Candidate {
        kind: binary.kind,
        name: &description.name,
        keyword: &description.keyword,
        origin: binary.label(),
        digest: &binary.digest,
        trust: binary.trust(),
        replaces: binary.consent.as_ref().is_some_and(|consent| consent.replaces),
    }
}
