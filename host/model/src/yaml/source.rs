//! Files, and locations in them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use saphyr_parser::Marker;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path as the user named it.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// Set when nothing of it may be printed.
    pub(crate) is_secret: bool,
    /// Set for a file; otherwise the path is only a name.
    pub(crate) is_file: bool,
}

/// A location in a file. Lines and columns begin with 1.
#[derive(Clone)]
pub(crate) struct Span {
    pub(crate) source: Arc<Source>,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Offset in characters.
    start: usize,
    end: usize,
}

impl Span {
    pub(crate) fn new(source: &Arc<Source>, start: Marker, end: Marker) -> Self {
        Self {
            source: Arc::clone(source),
            line: start.line(),
            column: start.col() + 1,
            start: start.index(),
            end: end.index().max(start.index()),
        }
    }

    /// Returns the location that stands for the whole file.
    pub(crate) fn whole(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), line: 1, column: 1, start: 0, end: 0 }
    }

    /// Returns the first location of a word in the file from here on.
    pub(crate) fn find(&self, word: &str) -> Option<Self> {
        let text = &self.source.text;
        let (from, _) = text.char_indices().nth(self.start)?;
        let at = from + text.get(from..)?.find(word)?;
        let before = text.get(..at)?;
        let start = before.chars().count();
        let (line, column) = position(before);
        Some(Self { source: Arc::clone(&self.source), line, column, start, end: start + word.chars().count() })
    }

    /// Returns the location in bytes, at most to the end of its first line: a message about a section need not
    /// underline all of it.
    pub(crate) fn bytes(&self) -> SourceSpan {
        let text = &self.source.text;
        let byte = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
        let (start, end) = (byte(self.start), byte(self.end));
        let piece = text.get(start..end).unwrap_or_default();
        let length = piece.lines().next().unwrap_or_default().trim_end().len();
        (start, length).into()
    }

    /// Returns line and column of its end.
    pub(crate) fn end(&self) -> (usize, usize) {
        (self.line, self.column + self.bytes().len())
    }
}

/// Returns line and column of what follows this text, as the parser counts them: a carriage return ends a line, too.
fn position(before: &str) -> (usize, usize) {
    let column = before.rsplit(['\n', '\r']).next().map_or(0, |line| line.chars().count()) + 1;
    let pairs = before.matches("\r\n").count();
    (before.matches(['\n', '\r']).count() - pairs + 1, column)
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        (self.start, self.end, &self.source.path) == (other.start, other.end, &other.source.path)
    }
}

/// `FILE:LINE:COLUMN`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.path.display(), self.line, self.column)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        excerpt(self.path.display().to_string(), &self.text, span, before, after)
    }
}

/// A text with a name, for excerpts in messages.
#[derive(Debug)]
pub struct NamedText {
    name: String,
    text: String,
}

impl NamedText {
    /// Wraps a text. `name` stands above its excerpts.
    pub fn new(name: impl Into<String>, text: String) -> Self {
        Self { name: name.into(), text }
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl SourceCode for NamedText {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        excerpt(self.name.clone(), &self.text, span, before, after)
    }
}

/// Maximum bytes of a line that is shown as a whole.
const MAX_WHOLE_LINE_BYTES: usize = 500;
/// Bytes of a longer line that are shown on both sides of a location.
const EXCERPT_CONTEXT_BYTES: usize = 60;

/// Returns the lines around a location; of a line that is too long only the part near it.
fn excerpt<'a>(
    name: String,
    text: &'a str,
    span: &SourceSpan,
    before: usize,
    after: usize,
) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
    let read = text.read_span(span, before, after)?;
    let (data, at, line, column, lines) = (read.data(), *read.span(), read.line(), read.column(), read.line_count());
    if data.split(|byte| *byte == b'\n').all(|line| line.len() <= MAX_WHOLE_LINE_BYTES) {
        return Ok(Box::new(MietteSpanContents::new_named(name, data, at, line, column, lines)));
    }
    let (start, end) = (span.offset(), span.offset() + span.len());
    let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line_end = text.get(end..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| end + at);
    let (from, to) = match line_end - line_start <= MAX_WHOLE_LINE_BYTES {
        true => (line_start, line_end),
        false => {
            let from = text.ceil_char_boundary(start.saturating_sub(EXCERPT_CONTEXT_BYTES)).max(line_start);
            (from, text.floor_char_boundary(end.saturating_add(EXCERPT_CONTEXT_BYTES)).min(line_end))
        }
    };
    let line = text.get(..from).unwrap_or_default().matches('\n').count();
    let column = text.get(line_start..from).unwrap_or_default().chars().count();
    let data = text.as_bytes().get(from..to).unwrap_or_default();
    let at = (from, data.len()).into();
    Ok(Box::new(MietteSpanContents::new_named(name, data, at, line, column, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_break_ends_one_line() {
        for (before, at) in
            [("", (1, 1)), ("a: ", (1, 4)), ("a\r\nb\rc\n", (4, 1)), ("\n\r", (3, 1)), ("é\r\r\néb", (3, 3))]
        {
            assert_eq!(position(before), at, "{before:?}");
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let long = format!("a: 1\nb: {}é HERE é{}\nc: 2\n", "x".repeat(9000), "y".repeat(9000));
        let text = NamedText::new("f", long.clone());
        let at = long.find("HERE").expect("there");
        let read = text.read_span(&(at, 4).into(), 1, 1).expect("read");
        let shown = std::str::from_utf8(read.data()).expect("text");
        assert!(shown.contains("é HERE é") && shown.len() < 200, "{}", shown.len());
        assert_eq!((read.line(), read.span().offset() + shown.find("HERE").expect("there")), (1, at));
        // Its neighbour is shown without it.
        let read = text.read_span(&(0, 1).into(), 1, 1).expect("read");
        assert_eq!((read.data(), read.line(), read.column()), (&b"a: 1"[..], 0, 0));
    }
}
