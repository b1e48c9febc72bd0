//! Functions of templates that need facts: `getip`, `getprivip`, `getipall`, `find_node_id`, `cut`, `cmd`, and the
//! filter `b64encode`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Error, ErrorKind, Value};

use crate::{Address, Facts, Instance};

/// Returns the functions by name.
pub(super) fn all(facts: &Arc<dyn Facts>) -> Vec<(&'static str, Value)> {
    let by = |answer: fn(&dyn Facts, &Value) -> Result<Value, Error>| {
        let facts = Arc::clone(facts);
        Value::from_function(move |name: Value| answer(facts.as_ref(), &name))
    };
    let nodes = Arc::clone(facts);
    let commands = Arc::clone(facts);
    vec![
        ("getip", by(|facts, name| first_address(&first_instance_of(facts, name)?))),
        ("getprivip", by(|facts, name| private_address(&first_instance_of(facts, name)?))),
        (
            "getipall",
            by(|facts, name| {
                instances_of(facts, name)?.iter().map(first_address).collect::<Result<Vec<_>, _>>().map(Value::from)
            }),
        ),
        (
            "find_node_id",
            Value::from_function(move |name: Value, options: Kwargs| find_node(nodes.as_ref(), &name, &options)),
        ),
        ("cut", Value::from_function(cut)),
        (
            "cmd",
            Value::from_function(move |line: String| {
                commands
                    .command(&line)
                    .map_err(|fault| Error::new(ErrorKind::InvalidOperation, fault.message.clone()).with_source(fault))
            }),
        ),
    ]
}

/// Returns the instances of the node with this name. An undefined name (`getip(master)` without quotes) means every
/// node.
fn instances_of(facts: &dyn Facts, name: &Value) -> Result<Vec<Instance>, Error> {
    let node_name = match name.as_str() {
        Some(name) => Some(name),
        None if name.is_undefined() || name.is_none() => None,
        None => return Err(invalid_operation(format!("a node is named by a text, not by {name}"))),
    };
    let found = facts.instances(node_name);
    if found.is_empty() {
        return Err(invalid_operation(match node_name {
            Some(name) => format!("there is no instance of node `{name}` (yet); does this node depend on it?"),
            None => "there is no instance of any node yet".to_owned(),
        }));
    }
    Ok(found)
}

fn first_instance_of(facts: &dyn Facts, name: &Value) -> Result<Instance, Error> {
    instances_of(facts, name)?.into_iter().next().ok_or_else(|| invalid_operation("there is no instance".to_owned()))
}

fn first_address(instance: &Instance) -> Result<Value, Error> {
    address_or_error(instance, instance.addresses.first())
}

/// Returns the first internal address, or the first one of a machine without internal addresses.
fn private_address(instance: &Instance) -> Result<Value, Error> {
    let internal = instance.addresses.iter().find(|address| address.internal);
    address_or_error(instance, internal.or(instance.addresses.first()))
}

fn address_or_error(instance: &Instance, address: Option<&Address>) -> Result<Value, Error> {
    let none = || invalid_operation(format!("node `{}` has no address (yet)", instance.node_name));
    address.map(|address| Value::from(&address.value)).ok_or_else(none)
}

/// Returns the data of the first instance, or of all, despite its name.
fn find_node(facts: &dyn Facts, name: &Value, options: &Kwargs) -> Result<Value, Error> {
    let all = options.get::<Option<bool>>("allnodes")?.unwrap_or(false);
    options.assert_all_used()?;
    let found = instances_of(facts, name)?;
    let mut data = found.iter().map(|instance| Value::from(Serde(&instance.data)));
    Ok(if all { data.collect() } else { data.next().unwrap_or_default() })
}

/// Returns Python's `text[start:end]`.
fn cut(text: &str, start: Option<i64>, end: Option<i64>) -> String {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let position = |index: i64| if index < 0 { index.saturating_add(length).max(0) } else { index.min(length) };
    let (start, end) = (position(start.unwrap_or(0)), position(end.unwrap_or(length)));
    let count = |index: i64| usize::try_from(index).unwrap_or(0);
    text.chars().skip(count(start)).take(count(end.saturating_sub(start))).collect()
}

pub(super) fn b64encode(text: &str) -> String {
    BASE64.encode(text)
}

fn invalid_operation(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
