//! YAML as the existing tool reads it, with the location of each value.

mod builder;
mod command;
mod ini;
mod loader;
mod scalar;
mod source;

use std::sync::Arc;

use serde_json::{Map, Number, Value as Json};

pub use command::CommandOutputs;
pub(crate) use loader::{AllowedTags, CommandPolicy, Loader};
pub use source::NamedText;
pub(crate) use source::{Source, Span};

/// A value with its location. Aliases share the node that they name: two aliases of one node are equal by pointer.
#[derive(Debug)]
pub(crate) struct YamlNode {
    pub(crate) value: Value,
    /// Location of the value itself.
    pub(crate) span: Span,
    /// Levels below it; then the nodes in it including itself, and the bytes of their texts. Aliases are followed. All
    /// are bounded while it is read.
    depth: usize,
    node_count: usize,
    text_bytes: usize,
}

/// A node at the location where it is used: its own, or that of an alias.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) node: Arc<YamlNode>,
    pub(crate) at: Span,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Sequence(Vec<Item>),
    Mapping(Vec<Entry>),
    /// A tag or an import that failed, and was reported.
    Broken,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Span,
    pub(crate) value: Item,
}

impl Item {
    pub(crate) fn mapping(&self) -> Option<&[Entry]> {
        match &self.node.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn sequence(&self) -> Option<&[Item]> {
        match &self.node.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn str(&self) -> Option<&str> {
        match &self.node.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the same mapping without some keys.
    pub(crate) fn without(&self, keys: &[&str]) -> Self {
        let Some(entries) = self.mapping() else { return self.clone() };
        let kept = entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())).cloned().collect();
        let YamlNode { span, depth: height, node_count: weight, text_bytes: bytes, .. } = &*self.node;
        let node = YamlNode {
            value: Value::Mapping(kept),
            span: span.clone(),
            depth: *height,
            node_count: *weight,
            text_bytes: *bytes,
        };
        Self { node: Arc::new(node), at: self.at.clone() }
    }

    /// Returns the entry of a mapping.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.mapping()?.iter().find(|entry| entry.key == key)
    }

    /// Returns the value of an entry of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Item> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Returns true if it failed and was reported.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.node.value, Value::Broken)
    }

    /// Returns the kind of the value for messages, such as "a list".
    pub(crate) fn kind(&self) -> &'static str {
        match &self.node.value {
            Value::Null => "empty",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Broken => "broken",
        }
    }

    pub(crate) fn json(&self) -> Json {
        match &self.node.value {
            Value::Null | Value::Broken => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(value) => Json::Number(value.clone()),
            Value::String(value) => Json::String(value.clone()),
            Value::Sequence(items) => Json::Array(items.iter().map(Self::json).collect()),
            Value::Mapping(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect::<Map<_, _>>())
            }
        }
    }

    /// Resolves a JSON pointer, as far as it leads: returns the value, and the key if it is an entry of a mapping.
    pub(crate) fn resolve_pointer(&self, pointer: &str) -> (Item, Option<Span>) {
        let (mut item, mut key) = (self.clone(), None);
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let next = match &item.node.value {
                Value::Sequence(items) => {
                    step.parse::<usize>().ok().and_then(|at| items.get(at)).map(|item| (item.clone(), None))
                }
                Value::Mapping(entries) => entries
                    .iter()
                    .find(|entry| entry.key == step)
                    .map(|entry| (entry.value.clone(), Some(entry.key_at.clone()))),
                _ => None,
            };
            let Some((value, at)) = next else { break };
            (item, key) = (value, at);
        }
        (item, key)
    }

    /// Calls `visit` with the pointer and the location of this item and of everything in it.
    pub(crate) fn visit_spans(&self, pointer: &str, visit: &mut impl FnMut(&str, &Span)) {
        visit(pointer, &self.at);
        match &self.node.value {
            Value::Sequence(items) => {
                for (at, item) in items.iter().enumerate() {
                    item.visit_spans(&format!("{pointer}/{at}"), visit);
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    let key = entry.key.replace('~', "~0").replace('/', "~1");
                    entry.value.visit_spans(&format!("{pointer}/{key}"), visit);
                }
            }
            _ => {}
        }
    }
}
