//! Filters of Jinja2 that the engine lacks or answers differently.
//! <https://jinja.palletsprojects.com/en/stable/templates/#list-of-builtin-filters>

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::{functions, json, methods, mutable, python, rewrite, wrap};

/// Registers all of them in an environment.
pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("b64encode", functions::b64encode);
    environment.add_filter("string", |value: Value| python::str(&value));
    environment.add_filter("indent", indent);
    environment.add_filter("wordcount", |text: Value| count_words(&python::str(&text)));
    environment.add_filter("truncate", truncate);
    environment.add_filter("center", |state: &mut State, text: Value, width: Option<usize>, named: Kwargs| {
        let width = width.or(named.get("width")?).unwrap_or(80);
        named.assert_all_used()?;
        methods::justified(state, &python::str(&text), width, ' ', "center")
    });
    environment.add_filter("wordwrap", wordwrap);
    environment.add_filter("filesizeformat", filesizeformat);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("random", random);
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("tojson", json::tojson);
    for name in ["e", "escape", "forceescape"] {
        environment.add_filter(name, move |text: Value| escape(&text, name == "forceescape"));
    }
    environment.add_filter("striptags", |text: Value| {
        let text = minijinja_contrib::filters::striptags(python::str(&text));
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    environment.add_filter(rewrite::REMAINDER_FILTER, remainder);
    environment.add_function(rewrite::LIST_FUNCTION, |items: Value| mutable::list(&items));
    environment.add_function(rewrite::MAPPING_FUNCTION, |entries: Option<Value>, named: Kwargs| {
        mutable::mapping(entries.as_ref(), &named)
    });
    environment
        .add_function("dict", |entries: Option<Value>, named: Kwargs| mutable::mapping(entries.as_ref(), &named));
    environment.add_function("cycler", mutable::cycler);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.set_unknown_method_callback(methods::call_builtin_method);
}

/// Returns arguments that were given by position or by name, in the order of these names.
pub(super) fn arguments<const N: usize>(
    given: Rest<ValueOrKwargs>,
    names: [&str; N],
) -> Result<[Option<Value>; N], Error> {
    let values = given.into_values();
    let (named, placed) = match values.split_last() {
        Some((last, placed)) if last.is_kwargs() => (Some(Kwargs::try_from(last.clone())?), placed),
        _ => (None, values.as_slice()),
    };
    if placed.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut found = [const { None }; N];
    for (at, name) in names.iter().enumerate() {
        let by_name = match &named {
            Some(named) => named.get::<Option<Value>>(name)?,
            None => None,
        };
        if let Some(slot) = found.get_mut(at) {
            *slot = placed.get(at).cloned().or(by_name);
        }
    }
    if let Some(named) = &named {
        named.assert_all_used()?;
    }
    Ok(found)
}

pub(super) fn usize_or(value: Option<&Value>, otherwise: usize) -> Result<usize, Error> {
    match value {
        None => Ok(otherwise),
        Some(value) => usize::try_from(value.clone()),
    }
}

/// Charges fuel for bytes before they are made.
pub(super) fn charge_fuel(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(u64::try_from(bytes / 64).unwrap_or(u64::MAX))
}

fn indent(state: &mut State, text: Value, given: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let [width, first, blank] = arguments(given, ["width", "first", "blank"])?;
    let indention = match width.as_ref().map(|width| (width, width.as_str())) {
        Some((_, Some(text))) => text.to_owned(),
        Some((width, None)) => {
            let width = usize_or(Some(width), 4)?;
            charge_fuel(state, width)?;
            " ".repeat(width)
        }
        None => "    ".to_owned(),
    };
    let is_set = |value: &Option<Value>| value.as_ref().is_some_and(Value::is_true);
    // Jinja2 adds one line break too: the last one of the text is kept.
    let text = format!("{}\n", python::str(&text));
    let mut out = String::new();
    for (at, line) in python::lines(&text).into_iter().enumerate() {
        let is_indented = if at == 0 { is_set(&first) } else { is_set(&blank) || !line.is_empty() };
        if at > 0 {
            out.push('\n');
        }
        if is_indented {
            charge_fuel(state, indention.len())?;
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn count_words(text: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c: char| !is_part(c)).filter(|word| !word.is_empty()).count()
}

fn truncate(text: Value, given: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let [length, killwords, end, leeway] = arguments(given, ["length", "killwords", "end", "leeway"])?;
    let (length, leeway) = (usize_or(length.as_ref(), 255)?, usize_or(leeway.as_ref(), 5)?);
    let end = end.map_or_else(|| "...".to_owned(), |end| python::str(&end));
    let text = python::str(&text);
    let Some(kept) = length.checked_sub(end.chars().count()) else {
        let message = format!("`truncate` to {length} characters leaves no room for `{end}`");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    };
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let cut: String = text.chars().take(kept).collect();
    let cut = match cut.rsplit_once(' ') {
        Some((whole, _)) if !killwords.is_some_and(|killwords| killwords.is_true()) => whole,
        _ => &cut,
    };
    Ok(format!("{cut}{end}"))
}

fn wordwrap(state: &mut State, text: Value, given: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, long, mark, hyphens] = arguments(given, names)?;
    let width = usize_or(width.as_ref(), 79)?;
    if width == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "`wordwrap` needs a width of more than 0"));
    }
    let mark = mark.filter(|mark| !mark.is_none()).map_or_else(|| "\n".to_owned(), |mark| python::str(&mark));
    let is_set = |value: Option<Value>| value.is_none_or(|value| value.is_true());
    let (long, hyphens) = (is_set(long), is_set(hyphens));
    let text = python::str(&text);
    let lines: Vec<_> =
        python::lines(&text).into_iter().map(|line| wrap::wrap(line, width, long, hyphens).join(&mark)).collect();
    charge_fuel(state, (lines.len() + text.len() / width).saturating_mul(mark.len()))?;
    Ok(lines.join(&mark))
}

fn filesizeformat(value: Value, binary: Option<Value>, named: Kwargs) -> Result<String, Error> {
    let binary = binary.or(named.get("binary")?).is_some_and(|binary| binary.is_true());
    named.assert_all_used()?;
    let bytes = python::str(&value).trim().parse::<f64>();
    let bytes =
        bytes.map_err(|_| Error::new(ErrorKind::InvalidOperation, format!("{value} is not a number of bytes")))?;
    let (base, prefixes): (f64, _) = if binary {
        (1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
    } else {
        (1000.0, ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
    };
    if bytes == 1.0 {
        return Ok("1 Byte".to_owned());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc()));
    }
    let mut unit = base;
    let mut shown = String::new();
    for prefix in prefixes {
        unit *= base;
        shown = format!("{:.1} {prefix}", base * bytes / unit);
        if bytes < unit {
            break;
        }
    }
    Ok(shown)
}

/// Encodes a text, or the pairs of a query.
fn urlencode(value: Value) -> Result<String, Error> {
    if value.as_str().is_some() || !matches!(value.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        return Ok(percent_encode(&python::str(&value), false));
    }
    let mut pairs = Vec::new();
    for item in value.try_iter()? {
        let (key, content) = if value.kind() == ValueKind::Map {
            (item.clone(), value.get_item(&item)?)
        } else {
            let pair: Vec<_> = item.try_iter()?.collect();
            let [key, content] = pair.as_slice() else {
                return Err(Error::new(ErrorKind::InvalidOperation, "`urlencode` takes a text, a mapping or pairs"));
            };
            (key.clone(), content.clone())
        };
        pairs.push(format!(
            "{}={}",
            percent_encode(&python::str(&key), true),
            percent_encode(&python::str(&content), true)
        ));
    }
    Ok(pairs.join("&"))
}

fn percent_encode(text: &str, is_query: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            b'/' if !is_query => out.push('/'),
            b' ' if is_query => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Chooses one of several. Rendering again must give the same, so the choice depends on the node and on the items
/// alone.
fn random(state: &mut State, items: Value) -> Result<Value, Error> {
    let all: Vec<_> = match items.as_str() {
        Some(text) => text.chars().map(Value::from).collect(),
        None => items.try_iter()?.collect(),
    };
    let node = state.lookup("node_id").map(|id| python::str(&id)).unwrap_or_default();
    // FNV-1a.
    let hash = node
        .bytes()
        .chain(python::str(&items).bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let count = u64::try_from(all.len()).unwrap_or(0);
    let chosen = hash.checked_rem(count).and_then(|at| usize::try_from(at).ok()).and_then(|at| all.get(at));
    Ok(chosen.cloned().unwrap_or_default())
}

/// Indents a text. The engine's own filter takes arguments by name only.
fn dictsort(state: &mut State, mapping: Value, given: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    const NAMES: [&str; 3] = ["case_sensitive", "by", "reverse"];
    let given = arguments(given, NAMES)?;
    charge_fuel(state, mapping.len().unwrap_or(0).saturating_mul(64))?;
    let named = NAMES.into_iter().zip(given).filter_map(|(name, value)| Some((name, value?)));
    minijinja::filters::dictsort(&mapping, named.collect())
}

/// Implements `%`: a text is formatted, a number divided.
fn remainder(state: &mut State, left: Value, right: Value) -> Result<Value, Error> {
    let Some(text) = left.as_str() else { return number_remainder(&left, &right) };
    let is_named = text.contains("%(");
    let values: Vec<_> = if right.is_tuple() { right.try_iter()?.collect() } else { vec![right] };
    let (format, values) = if is_named { (text.to_owned(), values) } else { python_format(text, values) };
    let arguments: Vec<_> = std::iter::once(Value::from(format)).chain(values).collect();
    state.apply_filter("format", &arguments)
}

/// Formats values as Python prints them: `%r` is known, `%d` takes numbers that are not integers, `%s` anything.
fn python_format(text: &str, values: Vec<Value>) -> (String, Vec<Value>) {
    let (mut format, mut rest) = (String::new(), text);
    let mut values = values.into_iter();
    let mut given = Vec::new();
    while let Some(at) = rest.find('%') {
        format.push_str(&rest[..at]);
        let end = rest[at + 1..].find(|c: char| !"#0123456789 -+.*hlL".contains(c)).map(|length| at + 1 + length);
        let Some((end, kind)) = end.and_then(|end| Some((end, rest[end..].chars().next()?))) else { break };
        let mut flags = rest[at..end].to_owned();
        rest = &rest[end + kind.len_utf8()..];
        // A width that is given as a value.
        while let Some(star) = flags.find('*') {
            let width = values.next().map(|width| python::str(&width)).unwrap_or_default();
            flags.replace_range(star..=star, &width);
        }
        format.push_str(&flags);
        format.push(match kind {
            'r' => 's',
            'u' => 'd',
            kind => kind,
        });
        if kind == '%' {
            continue;
        }
        let Some(value) = values.next() else { continue };
        given.push(match (kind, value.kind()) {
            ('r', _) => Value::from(python::repr(&value)),
            ('s', ValueKind::String) => value,
            ('s', _) => Value::from(python::str(&value)),
            ('d' | 'i' | 'u', ValueKind::Bool) => Value::from(i32::from(value.is_true())),
            ('d' | 'i' | 'u', ValueKind::Number) if !value.is_integer() => {
                #[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
                let whole = f64::try_from(value).unwrap_or_default() as i128;
                Value::from(whole)
            }
            _ => value,
        });
    }
    given.extend(values);
    (format + rest, given)
}

fn number_remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let refused = || {
        let message = format!("{} and {} have no remainder", left.kind(), right.kind());
        Error::new(ErrorKind::InvalidOperation, message)
    };
    let whole = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        // That of Python has the sign of the divisor.
        let remainder = left.checked_rem(right).ok_or_else(refused)?;
        let differs = remainder != 0 && (remainder < 0) != (right < 0);
        return Ok(Value::from(if differs { remainder + right } else { remainder }));
    }
    let real = |value: &Value| match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).map_err(|_| refused()),
        ValueKind::Bool => Ok(f64::from(u8::from(value.is_true()))),
        _ => Err(refused()),
    };
    let (left, right) = (real(left)?, real(right)?);
    if right == 0.0 {
        return Err(refused());
    }
    Ok(Value::from(left - right * (left / right).floor()))
}

/// Reads a whole number; the default if it is not one.
fn int(value: Value, given: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [default, base] = arguments(given, ["default", "base"])?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let Some(text) = value.as_str() else {
        return Ok(match value.kind() {
            ValueKind::Bool => Value::from(i32::from(value.is_true())),
            ValueKind::Number if value.is_integer() => value,
            ValueKind::Number => truncated(f64::try_from(value)?).unwrap_or(default),
            _ => default,
        });
    };
    let base = u32::try_from(usize_or(base.as_ref(), 10)?).ok().filter(|base| (2..=36).contains(base)).unwrap_or(10);
    let text = text.trim().replace('_', "");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let mark = match base {
        16 => "0x",
        8 => "0o",
        2 => "0b",
        _ => "",
    };
    let digits = digits.strip_prefix(mark).unwrap_or(digits);
    if let Ok(whole) = i128::from_str_radix(&format!("{sign}{digits}"), base) {
        return Ok(Value::from(whole));
    }
    Ok(text.parse::<f64>().ok().and_then(truncated).unwrap_or(default))
}

fn truncated(number: f64) -> Option<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
    number.is_finite().then(|| Value::from(number as i128))
}

/// Reads a float; the default if it is not one.
fn float(value: Value, given: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [default] = arguments(given, ["default"])?;
    let found = match (value.as_str(), value.kind()) {
        (Some(text), _) => text.trim().replace('_', "").parse::<f64>().ok(),
        (None, ValueKind::Number) => f64::try_from(value).ok(),
        (None, ValueKind::Bool) => Some(f64::from(u8::from(value.is_true()))),
        _ => None,
    };
    Ok(found.map(Value::from).or(default).unwrap_or_else(|| Value::from(0.0)))
}

/// Escapes a text for HTML. One that is escaped already is left, unless it is forced.
fn escape(text: &Value, is_forced: bool) -> Value {
    if text.is_safe() && !is_forced {
        return text.clone();
    }
    let mut out = String::new();
    for c in python::str(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Value::from_safe_string(out)
}
