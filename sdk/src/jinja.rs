//! Templates with the semantics that existing descriptions rely on: Jinja2 with Python's texts.
//!
//! Undefined prints nothing, but an attribute of it is an error; nothing is escaped; one trailing newline is dropped;
//! there is nothing to include. A template can neither run for ever nor make a text without end.

mod filters;
mod functions;
#[cfg(test)]
mod jinja2_comparison;
mod json;
mod methods;
mod mutable;
mod python;
mod rewrite;
#[cfg(test)]
mod tests;
mod unclosed;
mod wrap;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ops::Range;
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value};
use serde_json::Value as Json;

use crate::{Facts, Fault};

/// Bound of the work of one template: roughly this many instructions, or 64 times as many bytes.
const MAX_FUEL: u64 = 500_000;
/// Depth of macros that call each other. A component's stack is small.
const MAX_RECURSION: usize = 50;

/// Environment of templates, with its variables.
pub struct Templates {
    environment: Environment<'static>,
    variables: BTreeMap<String, Value>,
    keeps_newline: bool,
}

impl Templates {
    /// Returns an environment with these variables, an object.
    pub fn new(variables: &Json) -> Self {
        let mut environment = Environment::new();
        environment.set_fuel(Some(MAX_FUEL));
        environment.set_recursion_limit(MAX_RECURSION);
        filters::register(&mut environment);
        environment.set_formatter(|out, _, value| Ok(out.write_str(&python::str(value))?));
        Self { environment, variables: BTreeMap::new(), keeps_newline: false }.with(variables)
    }

    /// Adds variables, an object; they hide those of the same name.
    #[must_use]
    pub fn with(mut self, variables: &Json) -> Self {
        let added = variables.as_object().into_iter().flatten();
        self.variables.extend(added.map(|(name, value)| (name.clone(), Value::from(Serde(value)))));
        self
    }

    /// Adds the functions that need facts, such as `getip`. They hide variables of the same name.
    #[must_use]
    pub fn with_facts(mut self, facts: &Arc<dyn Facts>) -> Self {
        self.variables.extend(functions::all(facts).into_iter().map(|(name, value)| (name.to_owned(), value)));
        self
    }

    /// Keeps the last newline of texts: they are parts of a greater text, such as a YAML document.
    #[must_use]
    pub fn keeping_newlines(mut self) -> Self {
        self.keeps_newline = true;
        self
    }

    /// Folds inserted texts as inside a double-quoted YAML text: a line break becomes a space, and n empty lines become
    /// n line breaks. Existing cloud-init descriptions write keys with empty lines between their lines for this.
    #[must_use]
    pub fn folding(mut self) -> Self {
        self.environment.set_formatter(|out, _, value| Ok(out.write_str(&fold(&python::str(value)))?));
        self
    }

    /// Renders one text. The pointer gives its place in the user's section.
    ///
    /// # Errors
    /// A `give-up` with the pointer, and the line within the text.
    pub fn text(&self, pointer: &str, source: &str) -> Result<String, Fault> {
        // Jinja drops one, so it gets one more.
        let newline = match source.as_bytes().last() {
            Some(b'\n') if self.keeps_newline => "\n",
            Some(b'\r') if self.keeps_newline => "\r\n",
            _ => "",
        };
        let source = rewrite::rewrite(&format!("{source}{newline}"));
        let rendered = self
            .environment
            .template_from_str(&source)
            .and_then(|template| template.render(Value::from(self.variables.clone())));
        rendered.map_err(|error| explain(pointer, &source, &error))
    }

    /// Renders every text in a value, and leaves the rest (and all keys) as it is. A text stays a text.
    ///
    /// # Errors
    /// A `give-up` with the pointer of the text that failed.
    pub fn value(&self, pointer: &str, value: &Json) -> Result<Json, Fault> {
        Ok(match value {
            Json::String(source) => Json::String(self.text(pointer, source)?),
            Json::Array(items) => Json::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.value(&format!("{pointer}/{index}"), item))
                    .collect::<Result<_, _>>()?,
            ),
            Json::Object(fields) => Json::Object(
                fields
                    .iter()
                    .map(|(key, field)| Ok((key.clone(), self.value(&format!("{pointer}/{}", escape(key)), field)?)))
                    .collect::<Result<_, Fault>>()?,
            ),
            other => other.clone(),
        })
    }
}

/// Returns a value as Python's `str()` prints it: `True`, `None`, `['a', 'b']`, `{'k': 'v'}`.
pub fn python_str(value: &Json) -> String {
    python::str(&Value::from(Serde(value)))
}

/// Escapes a key as one step of a JSON pointer (RFC 6901).
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Explains a syntax error. Often the text is for another reader, such as a shell or Docker, and contains delimiters of
/// a template.
fn explain_syntax(pointer: &str, source: &str, error: &minijinja::Error) -> Fault {
    const HINT: &str = "delimiters for another program go between `{% raw %}` and `{% endraw %}`";
    let detail = error.detail().unwrap_or("the template can't be read").to_owned();
    // The engine explains an empty `{% if %}` better.
    let at_the_end = detail.contains("end of") && detail != "unexpected end of block";
    let unclosed = unclosed::find(source).filter(|_| at_the_end);
    let (what, line) = match unclosed {
        Some(unclosed) => {
            let line = source.get(..unclosed.at).unwrap_or_default().matches('\n').count() + 1;
            (unclosed.what, Some(line))
        }
        None => (detail, error.line()),
    };
    let text = line.and_then(|line| source.lines().nth(line.checked_sub(1)?)).map(str::trim);
    let position = match text.filter(|text| !text.is_empty() && text.len() <= 100 && !text.contains("|__")) {
        Some(text) => format!("in `{text}`"),
        None => "here".to_owned(),
    };
    let position = line.map_or_else(|| position.clone(), |line| format!("line {line}: {position}"));
    Fault::give_up("template.failed", what).at(pointer, position).detail(HINT)
}

fn explain(pointer: &str, source: &str, error: &minijinja::Error) -> Fault {
    if error.kind() == ErrorKind::SyntaxError {
        return explain_syntax(pointer, source, error);
    }
    // A refused `cmd` is the host's fault, and keeps its reaction and its advice.
    let cause = error.source().and_then(|source| source.downcast_ref::<Fault>());
    let what = match error.kind() {
        ErrorKind::UndefinedError => "an attribute or item of an undefined value is used".to_owned(),
        ErrorKind::OutOfFuel => "the template works too long, or would never end".to_owned(),
        kind => error.detail().map_or_else(|| kind.to_string(), str::to_owned),
    };
    // The expression that failed, of several on one line.
    let expression = error.range().and_then(|range| source.get(attribute_path(source, range))).map(str::trim);
    let is_shown = |it: &&str| !it.is_empty() && it.len() <= 100 && !it.contains('\n') && !it.contains("__");
    let position = match expression.filter(is_shown) {
        Some(expression) => format!("at `{expression}`"),
        None => "here".to_owned(),
    };
    let position = error.line().map_or_else(|| position.clone(), |line| format!("line {line}: {position}"));
    cause.cloned().unwrap_or_else(|| Fault::give_up("template.failed", what)).at(pointer, position)
}

/// Widens the range of an attribute to the value that it is an attribute of: the engine names `.b.c` of `a.b.c`.
fn attribute_path(source: &str, range: Range<usize>) -> Range<usize> {
    let before = source.get(..range.start).unwrap_or_default();
    let is_attribute = source.get(range.clone()).is_some_and(|text| text.starts_with('.'));
    let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let start = if is_attribute { before.trim_end_matches(name).len() } else { range.start };
    start..range.end
}

fn fold(text: &str) -> String {
    let mut lines = text.split('\n');
    let mut folded = lines.next().unwrap_or_default().to_owned();
    let mut breaks = 0;
    let mut rest = lines.peekable();
    while let Some(line) = rest.next() {
        breaks += 1;
        let line = if rest.peek().is_some() {
            line.trim_matches([' ', '\t', '\r'])
        } else {
            line.trim_start_matches([' ', '\t'])
        };
        if line.is_empty() && rest.peek().is_some() {
            continue;
        }
        folded.truncate(folded.trim_end_matches([' ', '\t', '\r']).len());
        if breaks == 1 {
            folded.push(' ');
        }
        folded.extend(std::iter::repeat_n('\n', breaks - 1));
        folded.push_str(line);
        breaks = 0;
    }
    folded
}
