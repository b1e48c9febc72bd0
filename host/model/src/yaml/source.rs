//! Files, and places in them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use saphyr_parser::Marker;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// As the user named it.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// It is never shown.
    pub(crate) secret: bool,
    /// Otherwise the path is only a name.
    pub(crate) is_file: bool,
}

/// A place in a file. Lines and columns begin with 1.
#[derive(Clone)]
pub(crate) struct Span {
    pub(crate) source: Arc<Source>,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// In characters.
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

    /// The whole file.
    pub(crate) fn whole(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), line: 1, column: 1, start: 0, end: 0 }
    }

    /// In bytes, at most to the end of its first line: a message about a section need not underline all of it.
    pub(crate) fn bytes(&self) -> SourceSpan {
        let text = &self.source.text;
        let byte = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
        let (start, end) = (byte(self.start), byte(self.end));
        let piece = text.get(start..end).unwrap_or_default();
        let length = piece.lines().next().unwrap_or_default().trim_end().len();
        (start, length).into()
    }

    /// Whether it and the lines around it are fit for a screen.
    pub(crate) fn has_short_lines(&self) -> bool {
        const LONGEST: usize = 500;
        let text = self.source.text.as_bytes();
        let at = self.bytes().offset();
        let lines_before = text[..at].rsplit(|byte| *byte == b'\n').take(2);
        let lines_after = text[at..].split(|byte| *byte == b'\n').take(2);
        lines_before.chain(lines_after).all(|line| line.len() <= LONGEST)
    }

    /// Line and column of its end.
    pub(crate) fn end(&self) -> (usize, usize) {
        (self.line, self.column + self.bytes().len())
    }
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
        let read = self.text.read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.path.display().to_string(),
            read.data(),
            *read.span(),
            read.line(),
            read.column(),
            read.line_count(),
        )))
    }
}
