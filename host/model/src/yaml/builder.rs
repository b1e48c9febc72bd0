//! Construction of nodes from the parser's events, without recursion, so that no input can exhaust the stack.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::{Entry, Item, Source, Span, Value, YamlNode, scalar};
use crate::diagnostic::Diagnostic;

/// Maximum levels of lists and mappings, aliases followed.
const MAX_DEPTH: usize = 100;
/// Maximum nodes of one file, aliases followed, against alias bombs. A file that writes out many nodes may have more.
const MAX_NODES: usize = 2_000_000;
/// Maximum nodes of a text that came over a network, aliases followed: each takes some hundred bytes while it is
/// checked.
const MAX_REMOTE_NODES: usize = 150_000;
/// Maximum bytes of text that aliases may repeat in a text that came over a network.
const MAX_ALIASED_BYTES: usize = 16 << 20;
/// Maximum factor by which aliases may enlarge a large file.
const MAX_ALIAS_GROWTH: usize = 16;

/// A list or mapping that is not complete.
struct OpenCollection {
    children: Children,
    start: Span,
    anchor: usize,
    tag: Option<Tag>,
}

enum Children {
    Sequence(Vec<Item>),
    Mapping { entries: Vec<Entry>, merges: Vec<Item>, key: Option<(String, Span)>, key_index: KeyIndex },
}

/// An index of the keys of a mapping. Small mappings are searched; searching a million entries for each key would take
/// hours.
#[derive(Default)]
struct KeyIndex(HashMap<String, usize>);

impl KeyIndex {
    const LINEAR_SEARCH_MAX: usize = 16;

    fn get(&mut self, entries: &[Entry], key: &str) -> Option<usize> {
        if entries.len() <= Self::LINEAR_SEARCH_MAX {
            return entries.iter().position(|entry| entry.key == key);
        }
        if self.0.len() < entries.len() {
            let new = entries.iter().enumerate().skip(self.0.len());
            self.0.extend(new.map(|(at, entry)| (entry.key.clone(), at)));
        }
        self.0.get(key).copied()
    }
}

/// The reader of a file: collects diagnostics, and gives tags their effect, such as the import of another file.
pub(super) trait TagHandler {
    /// Adds a diagnostic.
    fn report(&mut self, diagnostic: Diagnostic);

    /// Returns true for a text that came over a network.
    fn is_closed(&self) -> bool;

    /// Applies a tag to an item. `None` after an error that ends reading.
    fn apply_tag(&mut self, tag: &Tag, item: Item) -> Option<Item>;
}

/// Error: reading stopped. The handler has the diagnostic already.
pub(super) struct Aborted;

pub(super) struct Builder<'a> {
    handler: &'a mut dyn TagHandler,
    source: Arc<Source>,
    stack: Vec<OpenCollection>,
    anchors: HashMap<usize, Arc<YamlNode>>,
    node_count: usize,
    /// Nodes that are written out.
    written_nodes: usize,
    /// Bytes of text that aliases repeat.
    aliased_bytes: usize,
    root: Option<Item>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(handler: &'a mut dyn TagHandler, source: Arc<Source>) -> Self {
        Self {
            handler,
            source,
            stack: Vec::new(),
            anchors: HashMap::new(),
            node_count: 0,
            aliased_bytes: 0,
            written_nodes: 0,
            root: None,
        }
    }

    /// Returns the one document of the file; `None` after an error.
    pub(super) fn run(mut self) -> Option<Item> {
        let source = Arc::clone(&self.source);
        let mut documents = 0;
        for event in Parser::new_from_str(&source.text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    self.report_syntax_error(&error);
                    return None;
                }
            };
            let at = Span::new(&source, span.start, span.end);
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
                if documents > 1 {
                    self.fail(
                        "yaml.documents",
                        "there is a second document in this file",
                        &at,
                        "keep one document in a file",
                    );
                    return None;
                }
            }
            if self.event(event, at).is_err() {
                return None;
            }
        }
        if self.root.is_none() {
            let whole = Span::whole(&source);
            let diagnostic = Diagnostic::error("yaml.empty", "the file is empty").at(&whole, "nothing is here");
            self.handler.report(diagnostic);
        }
        self.root
    }

    fn report_syntax_error(&mut self, error: &ScanError) {
        let mark = *error.marker();
        let at = Span::new(&self.source, mark, mark);
        self.fail("yaml.syntax", &format!("this is not valid YAML: {}", error.info()), &at, "");
    }

    fn fail(&mut self, code: &'static str, message: &str, at: &Span, help: &str) -> Aborted {
        let mut diagnostic = Diagnostic::error(code, message).at(at, "here");
        if !help.is_empty() {
            diagnostic = diagnostic.help(help);
        }
        self.handler.report(diagnostic);
        Aborted
    }

    fn event(&mut self, event: Event<'_>, at: Span) -> Result<(), Aborted> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                if plain && tag.is_none() && scalar::is_old_octal(&text) {
                    self.warn_of_octal(&text, &at);
                }
                let value =
                    if plain && tag.is_none() { scalar::resolve(&text) } else { Value::String(text.into_owned()) };
                self.complete(value, at, anchor, tag.map(std::borrow::Cow::into_owned))
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Children::Sequence(Vec::new()), at, anchor, tag.map(std::borrow::Cow::into_owned))
            }
            Event::MappingStart(anchor, tag) => {
                let children = Children::Mapping {
                    entries: Vec::new(),
                    merges: Vec::new(),
                    key: None,
                    key_index: KeyIndex::default(),
                };
                self.open(children, at, anchor, tag.map(std::borrow::Cow::into_owned))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Ok(()) };
                let value = match open.children {
                    Children::Sequence(items) => Value::Sequence(items),
                    Children::Mapping { entries, merges, key_index: known, .. } => {
                        Value::Mapping(self.apply_merges(entries, &merges, known)?)
                    }
                };
                self.complete(value, open.start, open.anchor, open.tag)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.count(node.node_count, node.text_bytes, &at)?;
                    self.add(Item { node, at })
                }
                None => Err(self.fail(
                    "yaml.alias",
                    "this alias names an anchor that contains it",
                    &at,
                    "an alias stands for something that is complete above it",
                )),
            },
            _ => Ok(()),
        }
    }

    /// Warns of a number that readers of YAML 1.1, such as cloud-init, take for another one.
    fn warn_of_octal(&mut self, text: &str, at: &Span) {
        let help = match at.source.is_secret {
            true => "put it in quotes if it is a text".to_owned(),
            false => format!("if it is a mode or another text, put it in quotes: `'{text}'`"),
        };
        let number = text.trim_start_matches('0');
        let number = if number.is_empty() { "0" } else { number };
        let message = match at.source.is_secret {
            true => "a number that begins with 0 is read without it".to_owned(),
            false => format!("`{text}` is the number {number}: what is without quotes is read by YAML 1.2"),
        };
        let diagnostic = Diagnostic::warning("yaml.octal", message).at(at, "a number without its 0");
        self.handler.report(diagnostic.help(help));
    }

    fn open(&mut self, children: Children, start: Span, anchor: usize, tag: Option<Tag>) -> Result<(), Aborted> {
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("this is nested in more than {MAX_DEPTH} levels");
            return Err(self.fail("yaml.depth", &message, &start, "no description needs so many levels"));
        }
        self.stack.push(OpenCollection { children, start, anchor, tag });
        Ok(())
    }

    fn count(&mut self, weight: usize, repeated: usize, at: &Span) -> Result<(), Aborted> {
        self.node_count = self.node_count.saturating_add(weight);
        self.aliased_bytes = self.aliased_bytes.saturating_add(repeated);
        if self.handler.is_closed() && self.node_count > MAX_REMOTE_NODES {
            let message =
                format!("what comes over a network may have {MAX_REMOTE_NODES} keys and values, aliases followed");
            return Err(self.fail("yaml.size", &message, at, "deploy it in parts, or where the files are"));
        }
        if self.handler.is_closed() && self.aliased_bytes > MAX_ALIASED_BYTES {
            let message = format!("aliases repeat more than {} MB of text", MAX_ALIASED_BYTES >> 20);
            return Err(self.fail("yaml.size", &message, at, "write less of them, or put long texts into variables"));
        }
        let most = MAX_NODES.max(self.written_nodes.saturating_mul(MAX_ALIAS_GROWTH));
        if self.node_count > most {
            let written = self.written_nodes;
            let message = format!("aliases make more than {most} values of the {written} that are written here");
            return Err(self.fail(
                "yaml.size",
                &message,
                at,
                "aliases of lists of aliases multiply; write less of them",
            ));
        }
        Ok(())
    }

    fn complete(&mut self, value: Value, at: Span, anchor: usize, tag: Option<Tag>) -> Result<(), Aborted> {
        let (height, weight, bytes) = match &value {
            Value::Sequence(items) => measure(items.iter().map(|item| (0, item))),
            Value::Mapping(entries) => measure(entries.iter().map(|entry| (entry.key.len(), &entry.value))),
            Value::String(text) => (0, 1, text.len()),
            _ => (0, 1, 0),
        };
        if height > MAX_DEPTH {
            return Err(self.fail(
                "yaml.depth",
                &format!("this is nested in more than {MAX_DEPTH} levels"),
                &at,
                "aliases count as what they stand for",
            ));
        }
        self.written_nodes += 1;
        self.count(1, 0, &at)?;
        let node = Arc::new(YamlNode { value, span: at.clone(), depth: height, node_count: weight, text_bytes: bytes });
        let item = Item { node, at };
        let item = match tag {
            Some(tag) => self.handler.apply_tag(&tag, item).ok_or(Aborted)?,
            None => item,
        };
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&item.node));
        }
        self.add(item)
    }

    /// Adds a complete item to the innermost open collection.
    fn add(&mut self, item: Item) -> Result<(), Aborted> {
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(item);
            return Ok(());
        };
        match &mut open.children {
            Children::Sequence(items) => items.push(item),
            Children::Mapping { key: key @ None, .. } => match text_of(&item) {
                Some(text) => *key = Some((text, item.at)),
                None => {
                    return Err(self.fail(
                        "yaml.key",
                        &format!("a key must be a text, and this is {}", item.kind()),
                        &item.at,
                        "if it is a template, put it in quotes: `'{{ ... }}'`",
                    ));
                }
            },
            Children::Mapping { entries, merges, key, key_index: known } => {
                let Some((key, key_at)) = key.take() else { return Ok(()) };
                if key == "<<" {
                    merges.push(item);
                    return Ok(());
                }
                if let Some(first) = known.get(entries, &key).and_then(|at| entries.get(at)) {
                    let first = first.key_at.clone();
                    let diagnostic = Diagnostic::error("yaml.duplicate-key", format!("the key `{key}` is here twice"))
                        .at(&key_at, "again")
                        .related(&first, "first here")
                        .help("remove one of them, or give it another name");
                    self.handler.report(diagnostic);
                    return Ok(());
                }
                entries.push(Entry { key, key_at, value: item });
            }
        }
        Ok(())
    }

    /// Adds the entries of `<<` mappings that this one does not have.
    fn apply_merges(
        &mut self,
        mut entries: Vec<Entry>,
        merges: &[Item],
        mut known: KeyIndex,
    ) -> Result<Vec<Entry>, Aborted> {
        for merge in merges {
            let mappings = merge.sequence().map_or_else(|| vec![merge.clone()], <[Item]>::to_vec);
            for mapping in mappings {
                let Some(from) = mapping.mapping() else {
                    let message = format!("`<<` merges mappings, and this is {}", mapping.kind());
                    return Err(self.fail("yaml.merge", &message, &mapping.at, ""));
                };
                self.count(mapping.node.node_count, mapping.node.text_bytes, &mapping.at)?;
                for entry in from {
                    if known.get(&entries, &entry.key).is_none() {
                        entries.push(entry.clone());
                    }
                }
            }
        }
        Ok(entries)
    }
}

fn measure<'a>(items: impl Iterator<Item = (usize, &'a Item)>) -> (usize, usize, usize) {
    items.fold((1, 1, 0), |(height, weight, bytes), (key, item)| {
        let bytes: usize = bytes;
        let YamlNode { depth: below, node_count: own, text_bytes: text, .. } = &*item.node;
        (height.max(below + 1), weight.saturating_add(*own), bytes.saturating_add(key).saturating_add(*text))
    })
}

/// Returns a key as text: numbers and booleans as they print.
fn text_of(item: &Item) -> Option<String> {
    match &item.node.value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null => Some("null".to_owned()),
        _ => None,
    }
}
