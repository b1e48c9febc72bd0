//! Locations in the user's texts, as the engine writes them (`FILE:LINE:COLUMN`), and the diagnostics of failures there.

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use occopus_engine::{NodeFailure, Preview};
use occopus_model::{FileDiagnostic, FileSeverity, files};

/// Bytes of a file that are read for an excerpt, at most.
const MAX_EXCERPT_FILE_BYTES: u64 = 4 << 20;

/// A location in a text of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLocation<'a> {
    /// Name of the file, or of a text that is not a file.
    pub file: &'a str,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl<'a> SourceLocation<'a> {
    /// Parses `FILE:LINE:COLUMN`. File names may have colons in them.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (rest, column) = text.rsplit_once(':')?;
        let (file, line) = rest.rsplit_once(':')?;
        Some(Self { file, line: line.parse().ok()?, column: column.parse().ok()? })
    }

    /// Reads the file's text; none if it can no longer be read.
    pub fn read(&self) -> Option<String> {
        let mut text = String::new();
        files::open(Path::new(self.file)).ok()?.take(MAX_EXCERPT_FILE_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Returns the byte range of a line, from 1, of the value that begins at the location. In a block (`|`, `>`) the
    /// first line is the next line of the file.
    pub fn line_within(&self, text: &str, number: usize) -> Option<Range<usize>> {
        let start = self.byte_range(text)?.start;
        if number > 1 && text.get(start..)?.starts_with('"') {
            // In JSON the lines of a value are `\n` in one line.
            return None;
        }
        let is_block = text.get(start..)?.starts_with(['|', '>']);
        let below = if is_block { number } else { number.checked_sub(1)? };
        if below == 0 {
            return self.byte_range(text);
        }
        let mut begin = start;
        for _ in 0..below {
            begin += text.get(begin..)?.find('\n')? + 1;
        }
        let line = text.get(begin..)?.lines().next()?;
        let indent = line.len() - line.trim_start().len();
        Some(begin + indent..begin + line.trim_end().len().max(indent))
    }

    /// Returns the byte range from the location to the end of its line, without a comment.
    pub fn byte_range(&self, text: &str) -> Option<Range<usize>> {
        let before: usize = text.split_inclusive('\n').take(self.line.checked_sub(1)?).map(str::len).sum();
        let line = text.get(before..)?.lines().next()?;
        let (start, _) = line.char_indices().nth(self.column.checked_sub(1)?)?;
        let rest = &line[start..];
        let value = rest.split(" #").next().unwrap_or(rest).trim_end();
        Some(before + start..before + start + value.len())
    }
}

/// Returns the byte range that a message is about, and the message. The line of a template (`line N: `) is taken out of
/// the message and narrows the range.
pub fn locate(location: &SourceLocation<'_>, text: &str, message: &str) -> (Option<Range<usize>>, String) {
    let line = message.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    let within = line.and_then(|(number, rest)| Some((location.line_within(text, number.parse().ok()?)?, rest)));
    match within {
        Some((range, rest)) => (Some(range), rest.to_owned()),
        None => (location.byte_range(text), message.to_owned()),
    }
}

/// Returns the diagnostics of a node's failure, one for each line that it is about. `text_of` returns the user's text at
/// a location.
pub fn failure_problems(
    failure: &NodeFailure,
    text_of: &dyn Fn(&SourceLocation<'_>) -> Option<String>,
) -> Vec<FileDiagnostic> {
    let whole = failure.to_string();
    let diagnostic = |message: String, location: Option<&str>| {
        let (at, message) = resolve_location(location, &message, text_of);
        let diagnostic = FileDiagnostic {
            severity: FileSeverity::Error,
            code: failure.code().to_owned(),
            message: if whole.contains(&message) { whole.clone() } else { format!("{whole}: {message}") },
            node: Some(failure.node.clone()),
            ..FileDiagnostic::default()
        };
        diagnostic.relocated(at)
    };
    if failure.details.is_empty() {
        return vec![diagnostic(String::new(), failure.location())];
    }
    failure
        .details
        .iter()
        .map(|detail| diagnostic(detail.message.clone(), detail.location.as_deref().or(failure.location())))
        .collect()
}

/// Returns the warnings of previews, each once: nodes of one type have the same lines. `text_of` returns the user's text
/// at a location.
pub fn preview_warnings(
    previews: &[Preview],
    text_of: &dyn Fn(&SourceLocation<'_>) -> Option<String>,
) -> Vec<FileDiagnostic> {
    let mut seen = HashSet::new();
    let warnings = previews.iter().flat_map(|preview| preview.warnings.iter().map(move |warning| (preview, warning)));
    let new = warnings.filter(|(_, warning)| seen.insert((&warning.location, &warning.message)));
    new.map(|(preview, warning)| {
        let location = warning.location.as_deref().or(Some(&preview.origin));
        let (at, message) = resolve_location(location, &warning.message, text_of);
        let diagnostic = FileDiagnostic {
            severity: FileSeverity::Warning,
            code: warning.code.clone(),
            message,
            node: Some(preview.node.clone()),
            ..FileDiagnostic::default()
        };
        diagnostic.relocated(at)
    })
    .collect()
}

/// Returns file, line and column of what a message is about, and the message.
fn resolve_location(
    location: Option<&str>,
    message: &str,
    text_of: &dyn Fn(&SourceLocation<'_>) -> Option<String>,
) -> (Option<(String, usize, usize)>, String) {
    let Some(location) = location.and_then(SourceLocation::parse) else { return (None, message.to_owned()) };
    let text = text_of(&location).unwrap_or_default();
    let (found, message) = locate(&location, &text, message);
    let (line, column) = match found {
        Some(range) => {
            let before = text.get(..range.start).unwrap_or_default();
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            (before.matches('\n').count() + 1, column)
        }
        None => (location.line, location.column),
    };
    (Some((location.file.to_owned(), line, column)), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_parsed_from_the_end() {
        let location = SourceLocation::parse("/a:b/c.yaml:3:14").expect("a location");
        assert_eq!((location.file, location.line, location.column), ("/a:b/c.yaml", 3, 14));
        assert_eq!(SourceLocation::parse("c.yaml:3"), None);
        assert_eq!(SourceLocation::parse(""), None);
    }

    #[test]
    fn lines_of_a_text_are_found() {
        let text = "a: |\n  one\n  two\nb: 'one\n  two'\n";
        let within = |line, column, number| {
            SourceLocation { file: "f", line, column }.line_within(text, number).map(|range| &text[range])
        };
        assert_eq!(within(1, 4, 2), Some("two"));
        assert_eq!(within(1, 4, 1), Some("one"));
        assert_eq!(within(4, 4, 1), Some("'one"));
        assert_eq!(within(4, 4, 2), Some("two'"));
        assert_eq!(within(4, 4, 9), None);
        let json = "{\"a\": \"one\\ntwo\",\n \"b\": 1}";
        assert_eq!(SourceLocation { file: "f", line: 1, column: 7 }.line_within(json, 2), None, "not another value");
        assert!(SourceLocation { file: "f", line: 1, column: 7 }.line_within(json, 1).is_some());
    }

    #[test]
    fn the_rest_of_the_line_is_marked() {
        let text = "a: 1\nimage: ngïnx  # comment\n";
        let at = |line, column| SourceLocation { file: "f", line, column }.byte_range(text).map(|range| &text[range]);
        assert_eq!(at(2, 8), Some("ngïnx"));
        assert_eq!(at(1, 4), Some("1"));
        assert_eq!(at(1, 40), None, "the file has changed");
        assert_eq!(at(9, 1), None);
        assert_eq!(at(0, 0), None);
    }
}
