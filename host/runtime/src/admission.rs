//! Which plugins are taken in, and what the operator grants to each. A plugin chooses its name and its keyword itself, so that
//! neither is a proof: what is bundled comes first, then what was installed and is pinned by its digest, then other files.

use std::collections::{BTreeMap, HashMap};

use crate::grants::PluginGrants;
use crate::kind::Kind;

/// Consent to a plugin. In this order one counts more than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Put into a directory by hand.
    NotInstalled,
    /// Installed; its bytes are those that somebody agreed to.
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

/// A plugin that wants to be taken in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) keyword: &'a str,
    /// Its file, for messages.
    pub(crate) origin: &'a str,
    pub(crate) digest: &'a str,
    pub(crate) trust: Trust,
    /// True when somebody agreed that it replaces another one.
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

/// Returns why each plugin can't be taken in; none when it is. Those of one kind and keyword replace each other, the last one counts.
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
            "it would replace {}, and nobody has agreed to that. To agree: `occopus plugin install --replace FILE`",
            other.label()
        ));
    }
    let same_name = |other: &&Candidate<'_>| other.name == one.name && other.keyword != one.keyword;
    let other = others().filter(same_name).filter(|other| other.trust >= one.trust).max_by_key(|other| other.trust)?;
    let clash = format!("its name `{}` is that of {}", one.name, other.label());
    Some(match (one.trust, other.trust) {
        (Trust::NotInstalled, Trust::NotInstalled) => format!(
            "{clash}, and nobody has agreed to either, so neither is used. Remove one of the two files, or agree to the one that is \
             meant: `occopus plugin install FILE`"
        ),
        _ => format!("{clash}; a plugin needs a name of its own. Remove the file, or build it with another name"),
    })
}

/// Grants of the operator for one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OperatorGrants {
    /// The key of the configuration whose lines are for it.
    pub(crate) entry: String,
    pub(crate) grants: PluginGrants,
}

/// Returns what the configuration grants to each of these plugins, which are all that there are.
///
/// An entry `KIND/NAME` is for one plugin. An entry `NAME` is for the bundled plugins of that name and for what replaced them with
/// consent; where none is bundled, for the only one that has the name.
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
        let is_meant = |grants: &&PluginGrants| grants.sha256.as_deref().is_none_or(|sha256| sha256 == one.digest);
        let mut granted = PluginGrants::default();
        for grants in by_name.into_iter().chain(by_kind).filter(is_meant) {
            granted.add(grants);
        }
        OperatorGrants { entry: if has_name { one.name.to_owned() } else { of_kind }, grants: granted }
    };
    all.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Interface;

    const fn candidate(kind: Kind, name: &'static str, keyword: &'static str, trust: Trust) -> Candidate<'static> {
        Candidate { kind, name, keyword, origin: "one.wasm", digest: "d1", trust, replaces: false }
    }

    const NOVA: Candidate<'_> = candidate(Kind::Driver, "nova", "nova", Trust::Bundled);
    const CONTAINERS: Candidate<'_> = candidate(Kind::Driver, "docker", "docker", Trust::Bundled);
    const CONTAINER_CONTEXT: Candidate<'_> = candidate(Kind::Contextualiser, "docker", "docker", Trust::Bundled);

    fn is_admitted(others: &[Candidate<'static>], it: Candidate<'static>) -> bool {
        let all: Vec<_> = [NOVA, CONTAINERS, CONTAINER_CONTEXT].iter().chain(others).copied().chain([it]).collect();
        rejection_reasons(&all).pop().is_some_and(|problem| problem.is_none())
    }

    #[test]
    fn a_taken_name_and_a_taken_place_are_refused() {
        for trust in [Trust::NotInstalled, Trust::Installed] {
            assert!(is_admitted(&[], candidate(Kind::Driver, "mine", "mine", trust)));
            assert!(!is_admitted(&[], candidate(Kind::Driver, "nova", "evilnova", trust)));
            assert!(!is_admitted(&[], candidate(Kind::HealthChecker, "nova", "evil", trust)));
            assert!(!is_admitted(&[], candidate(Kind::Driver, "nova", "nova", trust)));
            assert!(!is_admitted(&[], candidate(Kind::Driver, "other", "nova", trust)));
            // Plugins of one author may share a name, as the bundled ones do; grants are not shared.
            assert!(is_admitted(&[], candidate(Kind::HealthChecker, "nova", "nova", trust)));
        }
        assert!(is_admitted(
            &[],
            Candidate { replaces: true, ..candidate(Kind::Driver, "nova", "nova", Trust::Installed) }
        ));

        let mine = candidate(Kind::Driver, "mine", "mine", Trust::Installed);
        assert!(!is_admitted(&[mine], candidate(Kind::Driver, "mine", "evil", Trust::NotInstalled)));
        assert!(!is_admitted(&[mine], candidate(Kind::Driver, "evil", "mine", Trust::NotInstalled)));
        assert!(!is_admitted(&[mine], candidate(Kind::Driver, "mine", "evil", Trust::Installed)));
        // What is only a file keeps nothing out that was installed.
        assert!(is_admitted(&[candidate(Kind::Driver, "mine", "evil", Trust::NotInstalled)], mine));
        // Of files that nobody agreed to, none counts more than another.
        let dropped = candidate(Kind::Driver, "mine", "mine", Trust::NotInstalled);
        let other = candidate(Kind::Driver, "mine", "evil", Trust::NotInstalled);
        assert!(!is_admitted(&[dropped], other) && !is_admitted(&[other], dropped));
        assert!(is_admitted(&[dropped], dropped), "a later one replaces it");
    }

    #[test]
    fn who_is_refused_hears_of_which_file_and_what_to_do() {
        let dropped = candidate(Kind::Driver, "mine", "mine", Trust::NotInstalled);
        let other =
            Candidate { origin: "plugins/other.wasm", ..candidate(Kind::Driver, "mine", "evil", Trust::NotInstalled) };
        let told = rejection_reasons(&[dropped, other]);
        let [first, second] = told.as_slice() else { panic!("{told:?}") };
        let (first, second) = (first.as_deref().unwrap_or_default(), second.as_deref().unwrap_or_default());
        for (told, words) in [(first, "(plugins/other.wasm)"), (second, "(one.wasm)")] {
            assert!(told.contains(words) && told.contains("neither is used") && told.contains("Remove one"), "{told}");
        }
        let named = candidate(Kind::Driver, "nova", "evilnova", Trust::Installed);
        let told = rejection_reasons(&[NOVA, named]).pop().flatten().unwrap_or_default();
        assert!(told.contains("the bundled driver `nova`;") && told.contains("another name"), "{told}");
    }

    #[test]
    fn grants_are_for_one_plugin() {
        let process = PluginGrants { interfaces: [Interface::Process].into(), ..PluginGrants::default() };
        let granted = |entry: &str, all: &[Candidate<'_>]| -> Vec<bool> {
            let configuration = BTreeMap::from([(entry.to_owned(), process.clone())]);
            operator_grants(all, &[NOVA, CONTAINERS, CONTAINER_CONTEXT], &configuration)
                .iter()
                .map(|granted| !granted.grants.interfaces.is_empty())
                .collect()
        };
        let foreign = candidate(Kind::HealthChecker, "nova", "nova", Trust::Installed);
        assert_eq!(granted("nova", &[NOVA, foreign]), [true, false]);
        assert_eq!(granted("health-checker/nova", &[NOVA, foreign]), [false, true]);
        assert_eq!(granted("docker", &[CONTAINERS, CONTAINER_CONTEXT]), [true, true]);
        assert_eq!(granted("driver/docker", &[CONTAINERS, CONTAINER_CONTEXT]), [true, false]);
        let heir = Candidate { replaces: true, ..candidate(Kind::Driver, "nova", "nova", Trust::Installed) };
        assert_eq!(granted("nova", &[heir]), [true]);
        let mine = candidate(Kind::Driver, "mine", "mine", Trust::NotInstalled);
        assert_eq!(granted("mine", &[mine]), [true]);
        let both = operator_grants(&[mine, Candidate { kind: Kind::Contextualiser, ..mine }], &[], &BTreeMap::new());
        assert_eq!(both.iter().map(|it| it.entry.as_str()).collect::<Vec<_>>(), ["driver/mine", "contextualiser/mine"]);
        assert_eq!(granted("mine", &[mine, Candidate { kind: Kind::Contextualiser, ..mine }]), [false, false]);

        let bound = PluginGrants { sha256: Some("d1".to_owned()), ..process.clone() };
        let configuration = BTreeMap::from([("mine".to_owned(), bound)]);
        let changed = Candidate { digest: "d2", ..mine };
        let are_granted = |it| !operator_grants(&[it], &[], &configuration)[0].grants.interfaces.is_empty();
        assert!(are_granted(mine) && !are_granted(changed));
    }
}
