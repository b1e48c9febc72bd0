//! Finds delimiters and blocks of a template that have no end. The engine reports only the end of the text.

/// Blocks that have an end of their own. `set` has one only without a value.
const BLOCKS: [&str; 9] = ["if", "for", "macro", "call", "filter", "with", "block", "autoescape", "set"];

/// A delimiter or block without an end.
#[derive(Debug, PartialEq)]
pub(super) struct Unclosed {
    /// Position in the text, in bytes.
    pub(super) at: usize,
    /// Description in a sentence.
    pub(super) what: String,
}

/// Returns the first delimiter without its end, otherwise the innermost block without its end. Only for texts that the
/// engine has refused: an end that stands within a text in quotes counts.
pub(super) fn find(source: &str) -> Option<Unclosed> {
    let (mut at, mut blocks) = (0, Vec::new());
    while let Some((open, mark, end)) = next_mark(source, at) {
        let Some(length) = source.get(open + 2..).and_then(|rest| rest.find(end)) else {
            let what = if mark == "{#" {
                format!("`{mark}` begins a comment, and there is no `{end}` at its end")
            } else {
                format!("`{mark}` has no `{end}` at its end")
            };
            return Some(Unclosed { at: open, what });
        };
        let inside = source.get(open + 2..open + 2 + length).unwrap_or_default();
        at = open + 2 + length + 2;
        if mark != "{%" {
            continue;
        }
        let inside = inside.trim_matches(['-', '+']).trim();
        match inside.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default() {
            // Nothing in it is a delimiter.
            "raw" => at = after_raw(source, at)?,
            name if name.starts_with("end") => drop(blocks.pop()),
            "set" if inside.contains('=') => {}
            name if BLOCKS.contains(&name) => blocks.push((open, name.to_owned(), inside.to_owned())),
            _ => {}
        }
    }
    let (at, name, inside) = blocks.pop()?;
    Some(Unclosed { at, what: format!("`{{% {inside} %}}` has no `{{% end{name} %}}`") })
}

/// Returns the next of the three delimiters, with its end.
fn next_mark(source: &str, from: usize) -> Option<(usize, &'static str, &'static str)> {
    let rest = source.get(from..)?;
    let marks = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")];
    marks.into_iter().filter_map(|(mark, end)| Some((from + rest.find(mark)?, mark, end))).min()
}

/// Returns the position behind a raw text; none if it has no end, which the engine reports itself.
fn after_raw(source: &str, from: usize) -> Option<usize> {
    let rest = source.get(from..)?;
    let tag = rest.match_indices("{%").find(|(at, _)| {
        rest.get(at + 2..).is_some_and(|inside| inside.trim_start_matches(['-', '+', ' ']).starts_with("endraw"))
    })?;
    Some(from + tag.0 + rest.get(tag.0..)?.find("%}")? + 2)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn what_has_no_end_is_found_where_it_begins() {
        for (source, found) in [
            ("a\n{{ b", Some((2, "`{{` has no `}}` at its end"))),
            ("a {{ b }} {% if", Some((10, "`{%` has no `%}` at its end"))),
            ("${#a[@]}", Some((1, "`{#` begins a comment, and there is no `#}` at its end"))),
            ("{% if a %}{{ b }}{%- for c in d -%}x{% endfor %} y", Some((0, "`{% if a %}` has no `{% endif %}`"))),
            ("{% set a = 1 %}{% set b %}x", Some((15, "`{% set b %}` has no `{% endset %}`"))),
            ("{% raw %}{{ {% if {# {%- endraw %}{{", Some((34, "`{{` has no `}}` at its end"))),
            ("{% raw %}{{", None),
            ("{% if a %}{% endif %}{# {{ #}{{ a }}", None),
            ("", None),
            ("é{{é", Some((2, "`{{` has no `}}` at its end"))),
        ] {
            let is = find(source);
            assert_eq!(is.as_ref().map(|it| (it.at, it.what.as_str())), found, "{source}");
        }
    }
}
