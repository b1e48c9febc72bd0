//! Methods of Python's texts and lists that the engine's own collection lacks.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

/// Calls a method of a value that has no methods of its own.
pub(super) fn call_builtin_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let found = match (value.as_str(), value.kind()) {
        (Some(text), _) => call_text_method(state, text, method, args)?,
        (None, ValueKind::Seq) if method == "index" => Some(index_of(value, args)?),
        (None, ValueKind::Seq | ValueKind::Map) if method == "copy" => Some(value.clone()),
        _ => None,
    };
    match found {
        Some(found) => Ok(found),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn invalid_operation(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn call_text_method(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = match text.chars().next() {
                Some(sign @ ('-' | '+')) => (sign.to_string(), &text[1..]),
                _ => (String::new(), text),
            };
            let zeros = padding(state, text, width)?;
            Value::from(format!("{sign}{}{digits}", "0".repeat(zeros)))
        }
        "center" | "ljust" | "rjust" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            Value::from(justified(state, text, width, fill.unwrap_or(' '), method)?)
        }
        "index" | "rindex" => {
            let (part,): (&str,) = from_args(args)?;
            let at = if method == "index" { text.find(part) } else { text.rfind(part) };
            let at = at.ok_or_else(|| invalid_operation(format!("`{part}` is not in the text")))?;
            Value::from(text[..at].chars().count())
        }
        "partition" | "rpartition" => {
            let (mark,): (&str,) = from_args(args)?;
            let parts = if method == "partition" { text.split_once(mark) } else { text.rsplit_once(mark) };
            let parts = match parts {
                Some((before, after)) => [before, mark, after],
                None if method == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(minijinja::value::Tuple::from(parts.map(Value::from)))
        }
        "rsplit" => {
            let (mark, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let most =
                most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<_> = match mark {
                Some(mark) if !mark.is_empty() => text.rsplitn(most, mark).collect(),
                Some(_) => return Err(invalid_operation("the text to split at is empty".to_owned())),
                None => rsplit_words(text, most),
            };
            parts.reverse();
            Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>())
        }
        "removeprefix" => Value::from(text.strip_prefix(from_args::<(&str,)>(args)?.0).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(from_args::<(&str,)>(args)?.0).unwrap_or(text)),
        // Unlike the filter, a letter after an apostrophe begins a word.
        "title" => {
            let () = from_args(args)?;
            let mut inside = false;
            let titled = text.chars().map(|c| {
                let was_inside = std::mem::replace(&mut inside, c.is_alphabetic());
                if was_inside { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() }
            });
            Value::from(titled.collect::<String>())
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swapped =
                |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
            Value::from(text.chars().map(swapped).collect::<String>())
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        "expandtabs" => {
            let (width,): (Option<usize>,) = from_args(args)?;
            Value::from(expand_tabs(state, text, width.unwrap_or(8))?)
        }
        _ => return Ok(None),
    }))
}

/// Returns the number of characters that are missing to a width, and charges fuel for them.
fn padding(state: &State<'_, '_>, text: &str, width: usize) -> Result<usize, Error> {
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel(u64::try_from(missing / 64).unwrap_or(u64::MAX))?;
    Ok(missing)
}

/// Implements `center`, `ljust` and `rjust`. If the sides can't be equal, Python gives the odd one to the left of an
/// odd width.
pub(super) fn justified(
    state: &State<'_, '_>,
    text: &str,
    width: usize,
    fill: char,
    how: &str,
) -> Result<String, Error> {
    let missing = padding(state, text, width)?;
    let left = match how {
        "ljust" => 0,
        "rjust" => missing,
        _ => missing / 2 + (missing & width & 1),
    };
    let fill = |count: usize| fill.to_string().repeat(count);
    Ok(format!("{}{text}{}", fill(left), fill(missing - left)))
}

fn rsplit_words(text: &str, most: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim_end());
    while !rest.is_empty() {
        if words.len() + 1 == most {
            words.push(rest);
            break;
        }
        let at =
            rest.rfind(char::is_whitespace).map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        words.push(&rest[at..]);
        rest = rest[..at].trim_end();
    }
    words
}

fn expand_tabs(state: &State<'_, '_>, text: &str, width: usize) -> Result<String, Error> {
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' => {
                let count = if width == 0 { 0 } else { width - column % width };
                state.consume_fuel(u64::try_from(count / 64).unwrap_or(u64::MAX))?;
                out.push_str(&" ".repeat(count));
                column += count;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(out)
}

fn index_of(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (item, from): (Value, Option<usize>) = from_args(args)?;
    let at = list.try_iter()?.enumerate().skip(from.unwrap_or(0)).find(|(_, known)| *known == item);
    at.map(|(at, _)| Value::from(at)).ok_or_else(|| invalid_operation(format!("{item} is not in the list")))
}
