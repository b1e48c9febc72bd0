//! Checks of plugins' descriptions. Operators decide by them, and grants are looked up by them: no text in them may be
//! mistaken for another.

use std::collections::BTreeSet;

use occopus_model::is_deceptive;

use crate::grants::{Interface, NetworkTarget};
use crate::plugin::Description;
use crate::sections::fillable_keys;

/// Characters of a name, a keyword or a version.
const MAX_WORD_CHARS: usize = 64;
/// Characters of a summary.
const MAX_SUMMARY_CHARS: usize = 200;
/// Number of needs of a plugin, targets and interfaces together.
const MAX_NEEDS: usize = 64;
/// Names in the configuration that no plugin may have.
const RESERVED_NAMES: [&str; 1] = ["webhook"];
/// Needs whose targets depend on the call.
const CALL_DEPENDENT_TARGETS: [&str; 3] = ["endpoint", "announced", "node-address"];

/// Returns the first violation in a description; none if it is usable.
pub(crate) fn first_violation(it: &Description) -> Option<String> {
    let word = |part: &str, text: &str, others: &str| {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || others.contains(letter);
        let is_word = text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.chars().all(is_plain);
        let fits = is_word && text.len() <= MAX_WORD_CHARS;
        let rule = format!(
            "it may have ASCII letters, digits and `{others}`, begins with a letter or digit, and has at most {MAX_WORD_CHARS} characters"
        );
        (!fits).then(|| format!("its {part} `{}` is not valid: {rule}", escaped(text)))
    };
    let words =
        [word("name", &it.name, "-_."), word("keyword", &it.keyword, "-_."), word("version", &it.version, "-_.+")];
    if let Some(violation) = words.into_iter().flatten().next() {
        return Some(violation);
    }
    if RESERVED_NAMES.contains(&it.name.as_str()) {
        return Some(format!("its name `{}` is reserved in the configuration; choose another", it.name));
    }
    if it.summary.chars().count() > MAX_SUMMARY_CHARS || it.summary.chars().any(is_deceptive) {
        return Some(format!("its summary is not one line of at most {MAX_SUMMARY_CHARS} printable characters"));
    }
    needs_violation(it).or_else(|| fillable_violation(it))
}

/// Returns the first need that can't be granted.
fn needs_violation(it: &Description) -> Option<String> {
    if it.needs_network.len() + it.needs_interfaces.len() > MAX_NEEDS {
        return Some(format!("it has more than {MAX_NEEDS} needs"));
    }
    let is_target = |need: &&String| {
        CALL_DEPENDENT_TARGETS.contains(&need.as_str())
            || need.len() <= 300 && !need.contains(is_deceptive) && need.parse::<NetworkTarget>().is_ok()
    };
    if let Some(need) = it.needs_network.iter().find(|need| !is_target(need)) {
        let need = escaped(need);
        return Some(format!(
            "it needs the network target `{need}`, which is not valid; valid targets are `{}`, HOST:PORT and HOST:PORT for HOST:PORT",
            CALL_DEPENDENT_TARGETS.join("`, `")
        ));
    }
    let known = Interface::ALL.map(Interface::name);
    let need = it.needs_interfaces.iter().find(|need| !known.contains(&need.as_str()))?;
    let need = escaped(need);
    Some(format!("it needs the host interface `{need}`, which can't be granted; there are `{}`", known.join("`, `")))
}

/// Returns the violation of a schema that makes a key fillable which is for the user alone.
fn fillable_violation(it: &Description) -> Option<String> {
    let fillable = fillable_keys(&it.section_schema);
    let decisive = BTreeSet::from(["endpoint".to_owned(), "type".to_owned()]);
    let key = fillable.intersection(&decisive).next()?;
    Some(format!("its schema makes `{key}` fillable, which decides about credentials and is for the user alone"))
}

/// Returns the beginning of an invalid text for a message, with all but printable ASCII escaped.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars().take(MAX_WORD_CHARS) {
        match is_deceptive(letter) || !letter.is_ascii() {
            true => shown.extend(letter.escape_unicode()),
            false => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn good() -> Description {
        Description {
            name: "my_cloud".to_owned(),
            version: "1.0.0-rc.1+2".to_owned(),
            keyword: "my-cloud".to_owned(),
            summary: "Machines of my cloud, fast".to_owned(),
            section_schema: Arc::new(json!({"properties": {"description": {"x-fillable": true}}})),
            credentials_schema: None,
            needs_network: vec![
                "endpoint".to_owned(),
                "announced".to_owned(),
                "*.example.org:443".to_owned(),
                "a:1 for b:2".to_owned(),
            ],
            needs_interfaces: vec!["icmp".to_owned()],
        }
    }

    #[test]
    fn what_is_shown_is_what_is_there() {
        assert_eq!(first_violation(&good()), None);
        let forged = "1.0\n  network: none\n\u{1b}[8m";
        let long = "a".repeat(65);
        let said = |change: fn(&mut Description, &str), text: &str| {
            let mut it = good();
            change(&mut it, text);
            let said = first_violation(&it).unwrap_or_else(|| panic!("{text:?} is taken"));
            assert!(!said.contains(is_deceptive), "{said:?}");
            said
        };
        for text in [forged, "", "-x", "a b", "my/cloud", "../../../x", "no\u{202e}va", "nová", &long] {
            assert!(said(|it, text| it.name = text.to_owned(), text).contains("name"));
            assert!(said(|it, text| it.keyword = text.to_owned(), text).contains("keyword"));
            assert!(said(|it, text| it.version = text.to_owned(), text).contains("version"));
        }
        for text in [forged, "a\u{202e}b", "\u{200b}", "a\u{61c}b", &"a".repeat(201)] {
            assert!(said(|it, text| it.summary = text.to_owned(), text).contains("summary"));
        }
        for text in ["internet", "a\nb:1", "example.org", "\u{1b}[2J:1"] {
            assert!(said(|it, text| it.needs_network.push(text.to_owned()), text).contains("network target"));
        }
        for text in ["filesystem", "icmp\n", ""] {
            assert!(said(|it, text| it.needs_interfaces.push(text.to_owned()), text).contains("host interface"));
        }
        assert!(said(|it, text| it.name = text.to_owned(), "webhook").contains("reserved in the configuration"));
    }

    #[test]
    fn nobody_may_leave_open_what_decides() {
        for key in ["endpoint", "type"] {
            let section_schema = Arc::new(json!({"properties": {key: {"x-fillable": true}}}));
            let said = first_violation(&Description { section_schema, ..good() });
            assert!(said.is_some_and(|said| said.contains(key)), "{key}");
        }
    }
}
