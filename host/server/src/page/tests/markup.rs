//! Checks of HTML: structure, references, labels, and the rules of our Content-Security-Policy.

use std::collections::{BTreeMap, BTreeSet};

struct Tag<'a> {
    name: &'a str,
    closes: bool,
    attributes: BTreeMap<&'a str, &'a str>,
}

/// Elements without an end tag.
const VOID: [&str; 6] = ["meta", "link", "input", "br", "!DOCTYPE", "hr"];

/// Attributes that name elements by their ids.
const REFERENCES: [&str; 4] = ["for", "aria-labelledby", "aria-describedby", "data-opens"];

/// Panics with the first fault of a page.
pub(crate) fn check(html: &str, path: &str) {
    let tags = tags(html);
    let mut open = Vec::new();
    let mut ids = BTreeSet::new();
    for tag in &tags {
        if tag.closes {
            assert_eq!(open.pop(), Some(tag.name), "{path}: the wrong end");
        } else if !VOID.contains(&tag.name) && !tag.attributes.contains_key("/") {
            open.push(tag.name);
        }
        for (key, value) in &tag.attributes {
            assert!(*key != "style" && !key.starts_with("on"), "{path}: {} {key}={value}", tag.name);
            assert!(!value.contains('<'), "{path}: {value}");
        }
        assert!(tag.name != "style", "{path}");
        assert!(tag.closes || tag.name != "script" || tag.attributes.contains_key("src"), "{path}");
        if let Some(id) = tag.attributes.get("id") {
            assert!(!id.is_empty() && !id.contains(char::is_whitespace), "{path}: {id}");
            assert!(ids.insert(*id), "{path}: {id} is there twice");
        }
    }
    assert!(open.is_empty(), "{path}: {open:?}");
    let whole = html.starts_with("<!DOCTYPE");
    for tag in tags.iter().filter(|tag| whole && !tag.closes) {
        for named in REFERENCES.iter().filter_map(|key| tag.attributes.get(key)).flat_map(|value| value.split(' ')) {
            assert!(ids.contains(named), "{path}: there is no {named}");
        }
        if let Some(anchor) = tag.attributes.get("href").and_then(|href| href.strip_prefix('#')) {
            assert!(ids.contains(anchor), "{path}: there is no #{anchor}");
        }
        let control = ["input", "select", "textarea"].contains(&tag.name);
        let labelled = |tag: &Tag<'_>| {
            let id = tag.attributes.get("id");
            tags.iter().any(|other| other.name == "label" && id.is_some() && other.attributes.get("for") == id)
        };
        let checkbox = tag.attributes.get("type") == Some(&"checkbox");
        let named = checkbox || tag.attributes.contains_key("aria-label") || labelled(tag);
        assert!(!control || named, "{path}: a control without a label");
    }
    for landmark in ["main", "header", "h1"].iter().filter(|_| whole) {
        assert_eq!(tags.iter().filter(|tag| tag.name == *landmark && !tag.closes).count(), 1, "{path}: {landmark}");
    }
    let tables = tags.iter().filter(|tag| tag.name == "table" && !tag.closes).count();
    assert_eq!(tables, html.matches("<caption").count(), "{path}: a table without a caption");
}

/// Returns the values of attributes with this prefix.
pub(crate) fn attributes(html: &str, prefix: &str) -> BTreeSet<String> {
    let values = tags(html).into_iter().flat_map(|tag| tag.attributes.into_values().collect::<Vec<_>>());
    values.filter(|value| value.starts_with(prefix)).map(str::to_owned).collect()
}

/// Returns the tags, as a browser finds them: a `textarea` and a `title` contain none.
fn tags(html: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let closes = rest.starts_with('/');
        rest = rest.trim_start_matches('/');
        let end = rest.find(|letter: char| letter.is_whitespace() || letter == '>' || letter == '/').expect("a name");
        let name = &rest[..end];
        assert!(!name.is_empty(), "a bare < before {}", &rest[..rest.len().min(40)]);
        rest = &rest[end..];
        let mut attributes = BTreeMap::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('>') {
                rest = after;
                break;
            }
            let end = rest.find(|letter: char| letter.is_whitespace() || "=>".contains(letter)).expect("an attribute");
            let end = if rest.starts_with('/') { 1 } else { end };
            let key = &rest[..end];
            rest = &rest[end..];
            let mut value = "";
            if let Some(quoted) = rest.strip_prefix("=\"") {
                let end = quoted.find('"').expect("the end of a value");
                (value, rest) = (&quoted[..end], &quoted[end + 1..]);
            }
            assert!(attributes.insert(key, value).is_none(), "{name}: {key} is there twice");
        }
        if !closes && ["textarea", "title"].contains(&name) && html.starts_with("<!DOCTYPE") {
            let end = rest.find(&format!("</{name}>")).expect("its end");
            rest = &rest[end..];
        }
        tags.push(Tag { name, closes, attributes });
    }
    tags
}
