//! Lists and mappings that a template changes, as Python's: every name for one sees the change.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::value::{DynObject, Enumerator, Kwargs, Object, ObjectRepr, Rest, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::methods;

/// Maximum number of items of a list or mapping. No template needs more.
const MAX_ITEMS: usize = 100_000;

/// Maximum depth of lists and mappings within one another, and of the values that are visited to find it out.
const MAX_NESTING: usize = 32;
const MAX_VISITED: usize = 10_000;

/// A list.
#[derive(Debug, Default)]
pub(super) struct List(Mutex<Vec<Value>>);

/// A mapping, in the order in which its keys came.
#[derive(Debug, Default)]
pub(super) struct Mapping(Mutex<Vec<(Value, Value)>>);

/// Makes a list with these items.
pub(super) fn list(items: &Value) -> Result<Value, Error> {
    let list = List::default();
    extend(&list, items)?;
    Ok(Value::from_object(list))
}

/// Makes a mapping with these entries: of a mapping, of pairs, or named.
pub(super) fn mapping(entries: Option<&Value>, named: &Kwargs) -> Result<Value, Error> {
    let mapping = Mapping::default();
    update(&mapping, entries, named)?;
    Ok(Value::from_object(mapping))
}

fn invalid_operation(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}

fn extend(list: &List, items: &Value) -> Result<(), Error> {
    let new = items.try_iter()?.take(MAX_ITEMS + 1).collect::<Vec<_>>();
    new.iter().try_for_each(|item| check_acyclic(std::ptr::from_ref(list).cast(), item))?;
    let mut items = list.items();
    if items.len() + new.len() > MAX_ITEMS {
        return Err(invalid_operation("a list gets too long"));
    }
    items.extend(new);
    Ok(())
}

fn update(mapping: &Mapping, entries: Option<&Value>, named: &Kwargs) -> Result<(), Error> {
    let mut new = Vec::new();
    if let Some(entries) = entries {
        for item in entries.try_iter()? {
            if entries.kind() == ValueKind::Map {
                let value = entries.get_item(&item)?;
                new.push((item, value));
            } else {
                let pair: Vec<_> = item.try_iter()?.collect();
                let [key, value] = pair.as_slice() else { return Err(invalid_operation("a mapping is made of pairs")) };
                new.push((key.clone(), value.clone()));
            }
        }
    }
    for name in named.args() {
        new.push((Value::from(name), named.get::<Value>(name)?));
    }
    new.iter().try_for_each(|(_, value)| check_acyclic(std::ptr::from_ref(mapping).cast(), value))?;
    let mut entries = mapping.entries();
    if entries.len() + new.len() > MAX_ITEMS {
        return Err(invalid_operation("a mapping gets too large"));
    }
    for (key, value) in new {
        set(&mut entries, key, value);
    }
    Ok(())
}

/// Refuses a value that contains the target, or is too large to find out: reading it would never end.
fn check_acyclic(target: *const (), new: &Value) -> Result<(), Error> {
    let mut seen = 0;
    match contains(target, new, 0, &mut seen) {
        true => Err(invalid_operation("a list or mapping can't be put into itself, nor so deep")),
        false => Ok(()),
    }
}

fn contains(target: *const (), value: &Value, depth: usize, seen: &mut usize) -> bool {
    *seen += 1;
    if depth > MAX_NESTING || *seen > MAX_VISITED {
        return true;
    }
    let Some(object) = value.as_object() else { return false };
    let mut within = |value: &Value| contains(target, value, depth + 1, seen);
    if let Some(list) = object.downcast_ref::<List>() {
        return std::ptr::from_ref(list).cast() == target || list.items().clone().iter().any(within);
    }
    if let Some(mapping) = object.downcast_ref::<Mapping>() {
        let values: Vec<_> = mapping.entries().iter().map(|(_, value)| value.clone()).collect();
        return std::ptr::from_ref(mapping).cast() == target || values.iter().any(within);
    }
    match value.kind() {
        ValueKind::Seq => value.try_iter().is_ok_and(|mut items| items.any(|item| within(&item))),
        ValueKind::Map => {
            let keys: Vec<_> = value.try_iter().map(Iterator::collect).unwrap_or_default();
            keys.iter().any(|key: &Value| value.get_item(key).is_ok_and(|item| within(&item)))
        }
        _ => false,
    }
}

fn set(entries: &mut Vec<(Value, Value)>, key: Value, value: Value) {
    match entries.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => *known = value,
        None => entries.push((key, value)),
    }
}

/// Returns an index into a list as Python counts: negative ones from its end.
fn python_index(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    usize::try_from(index).ok().filter(|_| index < length)
}

impl List {
    /// Locks the value. It is consistent at any time, so a poisoned lock is taken.
    fn items(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mapping {
    /// Locks the value. It is consistent at any time, so a poisoned lock is taken.
    fn entries(&self) -> MutexGuard<'_, Vec<(Value, Value)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let items = self.items();
        python_index(key.as_i64()?, items.len()).and_then(|at| items.get(at)).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items().clone())
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Self>()?.items().clone();
        let own = self.items().clone();
        Some(own.cmp(&other))
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        use minijinja::value::from_args;
        let none = Ok(Value::from(()));
        match method {
            "append" => {
                let (item,): (Value,) = from_args(args)?;
                check_acyclic(Arc::as_ptr(self).cast(), &item)?;
                if self.items().len() >= MAX_ITEMS {
                    return Err(invalid_operation("a list gets too long"));
                }
                self.items().push(item);
                none
            }
            "extend" => {
                let (items,): (Value,) = from_args(args)?;
                extend(self, &items)?;
                none
            }
            "insert" => {
                let (index, item): (i64, Value) = from_args(args)?;
                check_acyclic(Arc::as_ptr(self).cast(), &item)?;
                let mut items = self.items();
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if index < 0 { (index + length).max(0) } else { index.min(length) };
                items.insert(usize::try_from(index).unwrap_or_default(), item);
                none
            }
            "pop" => {
                let (index,): (Option<i64>,) = from_args(args)?;
                let mut items = self.items();
                let at = python_index(index.unwrap_or(-1), items.len())
                    .ok_or_else(|| invalid_operation("`pop` of an item that is not there"))?;
                Ok(items.remove(at))
            }
            "remove" => {
                let (item,): (Value,) = from_args(args)?;
                let mut items = self.items();
                let at = items.iter().position(|known| *known == item);
                items.remove(at.ok_or_else(|| invalid_operation("`remove` of an item that is not there"))?);
                none
            }
            "clear" => {
                self.items().clear();
                none
            }
            "copy" => list(&Value::from(self.items().clone())),
            "reverse" => {
                self.items().reverse();
                none
            }
            "sort" => {
                let (named,): (Kwargs,) = from_args(args)?;
                let is_reversed = named.get::<Option<bool>>("reverse")?.unwrap_or(false);
                named.assert_all_used()?;
                let mut items = self.items();
                items.sort();
                if is_reversed {
                    items.reverse();
                }
                none
            }
            _ => methods::call_builtin_method(state, &Value::from(self.items().clone()), method, args),
        }
    }
}

impl Object for Mapping {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.entries().iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries().iter().map(|(key, _)| key.clone()).collect())
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        use minijinja::value::from_args;
        match method {
            "update" => {
                let (entries, named): (Option<Value>, Kwargs) = from_args(args)?;
                update(self, entries.as_ref(), &named)?;
                Ok(Value::from(()))
            }
            "setdefault" => {
                let (key, value): (Value, Option<Value>) = from_args(args)?;
                if let Some(known) = self.get_value(&key) {
                    return Ok(known);
                }
                let value = value.unwrap_or_else(|| Value::from(()));
                check_acyclic(Arc::as_ptr(self).cast(), &value)?;
                set(&mut self.entries(), key, value.clone());
                Ok(value)
            }
            "pop" => {
                let (key, default): (Value, Option<Value>) = from_args(args)?;
                let mut entries = self.entries();
                let at = entries.iter().position(|(known, _)| *known == key);
                match (at, default) {
                    (Some(at), _) => Ok(entries.remove(at).1),
                    (None, Some(default)) => Ok(default),
                    (None, None) => Err(invalid_operation("`pop` of a key that is not there")),
                }
            }
            "popitem" => {
                let () = from_args(args)?;
                let last = self.entries().pop().ok_or_else(|| invalid_operation("`popitem` of an empty mapping"))?;
                Ok(Value::from(minijinja::value::Tuple::from([last.0, last.1])))
            }
            "clear" => {
                self.entries().clear();
                Ok(Value::from(()))
            }
            "copy" => {
                let copy = Mapping(Mutex::new(self.entries().clone()));
                Ok(Value::from_object(copy))
            }
            _ => methods::call_builtin_method(state, &Value::from_dyn_object(self.clone()), method, args),
        }
    }
}

/// Object that returns its values in turn.
#[derive(Debug)]
pub(super) struct Cycler {
    items: Vec<Value>,
    next: Mutex<usize>,
}

/// Makes the object of `cycler('odd', 'even')`.
pub(super) fn cycler(items: Rest<Value>) -> Result<Value, Error> {
    if items.is_empty() {
        return Err(invalid_operation("`cycler` needs one value at least"));
    }
    Ok(Value::from_object(Cycler { items: items.to_vec(), next: Mutex::new(0) }))
}

impl Cycler {
    fn next(&self) -> MutexGuard<'_, usize> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Value {
        self.items.get(*self.next()).cloned().unwrap_or_default()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        let () = minijinja::value::from_args(args)?;
        match method {
            "next" => {
                let current = self.current();
                let mut next = self.next();
                *next = (*next + 1) % self.items.len().max(1);
                Ok(current)
            }
            "reset" => {
                *self.next() = 0;
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
