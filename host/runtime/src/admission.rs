//! Admission of plugins, and the operator's grants for each. Takes name, keyword, digest and trust of all candidates,
//! returns the reasons for rejection and the grants. A plugin chooses its name and its keyword itself, so neither
//! proves anything: bundled plugins come first, then installed ones, which are bound to their digest, then other files.

use std::collections::{BTreeMap, HashMap};

use crate::grants::PluginGrants;
use crate::kind::PluginKind;

/// Level of trust in a plugin, in ascending order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Put into a directory by hand.
    NotInstalled,
    /// Installed with consent, which holds for these bytes.
    Installed,
    /// Part of the program.
    Bundled,
}

impl Trust {
    fn word(self) -> &'static str {
        match self {
            Self::NotInstalled => "not installed",
            Self::Installed => "installed",
            Self::Bundled => "bundled",
        }
    }
}

/// A plugin that is considered for admission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) kind: PluginKind,
    pub(crate) name: &'a str,
    pub(crate) keyword: &'a str,
    /// File of the plugin, for messages.
    pub(crate) origin: &'a str,
    pub(crate) digest: &'a str,
    pub(crate) trust: Trust,
    /// Consent to replace another plugin.
    pub(crate) replaces: bool,
}

impl Candidate<'_> {
    fn has_same_key(&self, other: &Self) -> bool {
        self.kind == other.kind && self.keyword == other.keyword
    }

    fn label(&self) -> String {
        let file = if self.trust == Trust::Bundled { String::new() } else { format!(" ({})", self.origin) };
        format!("the {} {} `{}`{file}", self.trust.word(), self.kind.name(), self.keyword)
    }
}

/// Returns the reason for the rejection of each plugin, in the order of `all`; none if it is admitted. Of admitted
/// plugins with one kind and keyword the last one is used.
pub(crate) fn rejection_reasons(all: &[Candidate<'_>]) -> Vec<Option<String>> {
    all.iter().enumerate().map(|(at, one)| rejection_reason(at, one, all)).collect()
}

fn rejection_reason(at: usize, one: &Candidate<'_>, all: &[Candidate<'_>]) -> Option<String> {
    if one.trust == Trust::Bundled {
        return None;
    }
    let others = || all.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
    let replaced = others().filter(|other| one.has_same_key(other)).find(|other| match other.trust {
        Trust::Bundled => !one.replaces,
        Trust::Installed => one.trust == Trust::NotInstalled || other.name != one.name && !one.replaces,
        Trust::NotInstalled => false,
    });
    if let Some(other) = replaced {
        return Some(format!(
            "it would replace {} without consent. To agree: `occopus plugin install --replace FILE`",
            other.label()
        ));
    }
    let same_name = |other: &&Candidate<'_>| other.name == one.name && other.keyword != one.keyword;
    let other = others().filter(same_name).filter(|other| other.trust >= one.trust).max_by_key(|other| other.trust)?;
    let clash = format!("its name `{}` is already used by {}", one.name, other.label());
    Some(match (one.trust, other.trust) {
        (Trust::NotInstalled, Trust::NotInstalled) => format!(
            "{clash}, and neither has consent, so neither is used. Remove one of the two files, or give consent to the one that is \
             meant: `occopus plugin install FILE`"
        ),
        _ => format!("{clash}; a plugin needs a name of its own. Remove the file, or build it with another name"),
    })
}

/// Grants of the operator for one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OperatorGrants {
    /// Key of the configuration under which its grants are written.
    pub(crate) config_key: String,
    pub(crate) grants: PluginGrants,
}

/// Returns the grants of the configuration for each plugin in `all`, in its order. `all` must hold every admitted
/// plugin.
///
/// A key `KIND/NAME` is for one plugin. A key `NAME` is for the bundled plugins of that name and for those that
/// replaced them with consent; if none is bundled, for the only plugin that has the name.
pub(crate) fn operator_grants(
    all: &[Candidate<'_>],
    bundled: &[Candidate<'_>],
    configuration: &BTreeMap<String, PluginGrants>,
) -> Vec<OperatorGrants> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    all.iter().for_each(|one| *names.entry(one.name).or_default() += 1);
    let of = |one: &Candidate<'_>| {
        let is_bundled_name = bundled.iter().any(|other| other.name == one.name);
        let is_heir = || bundled.iter().any(|other| other.name == one.name && one.has_same_key(other));
        let has_name = if is_bundled_name { is_heir() } else { names.get(one.name) == Some(&1) };
        let by_name = configuration.get(one.name).filter(|_| has_name);
        let of_kind = format!("{}/{}", one.kind.name(), one.name);
        let by_kind = configuration.get(&of_kind);
        let applies = |grants: &&PluginGrants| grants.sha256.as_deref().is_none_or(|sha256| sha256 == one.digest);
        let mut granted = PluginGrants::default();
        for grants in by_name.into_iter().chain(by_kind).filter(applies) {
            granted.add(grants);
        }
        OperatorGrants { config_key: if has_name { one.name.to_owned() } else { of_kind }, grants: granted }
    };
    all.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Interface;

    const fn candidate(
        kind: PluginKind,
        name: &'static str,
        keyword: &'static str,
        trust: Trust,
    ) -> Candidate<'static> {
        Candidate { kind, name, keyword, origin: "one.wasm", digest: "d1", trust, replaces: false }
    }

    const NOVA: Candidate<'_> = candidate(PluginKind::Driver, "nova", "nova", Trust::Bundled);
    const CONTAINERS: Candidate<'_> = candidate(PluginKind::Driver, "docker", "docker", Trust::Bundled);
    const CONTAINER_CONTEXT: Candidate<'_> = candidate(PluginKind::Contextualiser, "docker", "docker", Trust::Bundled);

    fn is_admitted(others: &[Candidate<'static>], it: Candidate<'static>) -> bool {
        let all: Vec<_> = [NOVA, CONTAINERS, CONTAINER_CONTEXT].iter().chain(others).copied().chain([it]).collect();
        rejection_reasons(&all).pop().is_some_and(|reason| reason.is_none())
    }

    #[test]
    fn a_taken_name_and_a_taken_place_are_refused() {
        for trust in [Trust::NotInstalled, Trust::Installed] {
            assert!(is_admitted(&[], candidate(PluginKind::Driver, "mine", "mine", trust)));
            assert!(!is_admitted(&[], candidate(PluginKind::Driver, "nova", "evilnova", trust)));
            assert!(!is_admitted(&[], candidate(PluginKind::HealthChecker, "nova", "evil", trust)));
            assert!(!is_admitted(&[], candidate(PluginKind::Driver, "nova", "nova", trust)));
            assert!(!is_admitted(&[], candidate(PluginKind::Driver, "other", "nova", trust)));
            // Plugins of one author may share a name, as the bundled ones do; grants are not shared.
            assert!(is_admitted(&[], candidate(PluginKind::HealthChecker, "nova", "nova", trust)));
        }
        assert!(is_admitted(
            &[],
            Candidate { replaces: true, ..candidate(PluginKind::Driver, "nova", "nova", Trust::Installed) }
        ));

        let mine = candidate(PluginKind::Driver, "mine", "mine", Trust::Installed);
        assert!(!is_admitted(&[mine], candidate(PluginKind::Driver, "mine", "evil", Trust::NotInstalled)));
        assert!(!is_admitted(&[mine], candidate(PluginKind::Driver, "evil", "mine", Trust::NotInstalled)));
        assert!(!is_admitted(&[mine], candidate(PluginKind::Driver, "mine", "evil", Trust::Installed)));
        // A file without consent does not keep out an installed plugin.
        assert!(is_admitted(&[candidate(PluginKind::Driver, "mine", "evil", Trust::NotInstalled)], mine));
        // Files without consent have no precedence over each other.
        let dropped = candidate(PluginKind::Driver, "mine", "mine", Trust::NotInstalled);
        let other = candidate(PluginKind::Driver, "mine", "evil", Trust::NotInstalled);
        assert!(!is_admitted(&[dropped], other) && !is_admitted(&[other], dropped));
        assert!(is_admitted(&[dropped], dropped), "a later one replaces it");
    }

    #[test]
    fn who_is_refused_hears_of_which_file_and_what_to_do() {
        let dropped = candidate(PluginKind::Driver, "mine", "mine", Trust::NotInstalled);
        let other = Candidate {
            origin: "plugins/other.wasm",
            ..candidate(PluginKind::Driver, "mine", "evil", Trust::NotInstalled)
        };
        let told = rejection_reasons(&[dropped, other]);
        let [first, second] = told.as_slice() else { panic!("{told:?}") };
        let (first, second) = (first.as_deref().unwrap_or_default(), second.as_deref().unwrap_or_default());
        for (told, words) in [(first, "(plugins/other.wasm)"), (second, "(one.wasm)")] {
            assert!(told.contains(words) && told.contains("neither is used") && told.contains("Remove one"), "{told}");
        }
        let named = candidate(PluginKind::Driver, "nova", "evilnova", Trust::Installed);
        let told = rejection_reasons(&[NOVA, named]).pop().flatten().unwrap_or_default();
        assert!(told.contains("the bundled driver `nova`;") && told.contains("another name"), "{told}");
    }

    #[test]
    fn grants_are_for_one_plugin() {
        let process = PluginGrants { interfaces: [Interface::Process].into(), ..PluginGrants::default() };
        let granted = |key: &str, all: &[Candidate<'_>]| -> Vec<bool> {
            let configuration = BTreeMap::from([(key.to_owned(), process.clone())]);
            operator_grants(all, &[NOVA, CONTAINERS, CONTAINER_CONTEXT], &configuration)
                .iter()
                .map(|granted| !granted.grants.interfaces.is_empty())
                .collect()
        };
        let foreign = candidate(PluginKind::HealthChecker, "nova", "nova", Trust::Installed);
        assert_eq!(granted("nova", &[NOVA, foreign]), [true, false]);
        assert_eq!(granted("health-checker/nova", &[NOVA, foreign]), [false, true]);
        assert_eq!(granted("docker", &[CONTAINERS, CONTAINER_CONTEXT]), [true, true]);
        assert_eq!(granted("driver/docker", &[CONTAINERS, CONTAINER_CONTEXT]), [true, false]);
        let heir = Candidate { replaces: true, ..candidate(PluginKind::Driver, "nova", "nova", Trust::Installed) };
        assert_eq!(granted("nova", &[heir]), [true]);
        let mine = candidate(PluginKind::Driver, "mine", "mine", Trust::NotInstalled);
        assert_eq!(granted("mine", &[mine]), [true]);
        let both =
            operator_grants(&[mine, Candidate { kind: PluginKind::Contextualiser, ..mine }], &[], &BTreeMap::new());
        assert_eq!(
            both.iter().map(|it| it.config_key.as_str()).collect::<Vec<_>>(),
            ["driver/mine", "contextualiser/mine"]
        );
        assert_eq!(granted("mine", &[mine, Candidate { kind: PluginKind::Contextualiser, ..mine }]), [false, false]);

        let bound = PluginGrants { sha256: Some("d1".to_owned()), ..process.clone() };
        let configuration = BTreeMap::from([("mine".to_owned(), bound)]);
        let changed = Candidate { digest: "d2", ..mine };
        let are_granted = |it| !operator_grants(&[it], &[], &configuration)[0].grants.interfaces.is_empty();
        assert!(are_granted(mine) && !are_granted(changed));
    }
}
