//! Plain scalars by the core schema of YAML 1.2: `yes` is a text, `0644` is 644.

use serde_json::Number;

use super::Value;

pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    integer(text).or_else(|| float(text)).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// Returns true for digits that begin with 0, which YAML 1.1 takes for an octal number: `0644`.
pub(super) fn is_old_octal(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0o") => (8, &digits[2..]),
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) || !digits.chars().all(|c| c.is_digit(radix) || c == '_') {
        return None;
    }
    let digits = digits.replace('_', "");
    let sign = if negative { "-" } else { "" };
    if let Ok(number) = i64::from_str_radix(&format!("{sign}{digits}"), radix) {
        return Some(number.into());
    }
    u64::from_str_radix(&digits, radix).ok().filter(|_| !negative).map(Into::into)
}

fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '_');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let some = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let has_digits = some(whole) || (whole.is_empty() && fraction.is_some_and(some));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && exponent.chars().all(|c| c.is_ascii_digit())
    });
    if !has_digits || !digits(whole) || !fraction.is_none_or(digits) || !exponent_fits {
        return None;
    }
    // Infinity and "not a number" have no place in JSON and stay texts.
    text.replace('_', "").parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Value, resolve};

    #[test]
    fn types_of_plain_scalars() {
        for (text, wanted) in [
            ("0644", json!(644)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("-12", json!(-12)),
            ("+7", json!(7)),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
            ("3.", json!(3.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("True", json!(true)),
            ("~", json!(null)),
            ("", json!(null)),
            ("yes", json!("yes")),
            ("off", json!("off")),
            ("3.3.0", json!("3.3.0")),
            ("5:20.10.2~3-0", json!("5:20.10.2~3-0")),
            ("12:30:45", json!("12:30:45")),
            ("2001-01-01", json!("2001-01-01")),
            (".", json!(".")),
            ("-", json!("-")),
            ("_1", json!("_1")),
            ("1e", json!("1e")),
            ("e3", json!("e3")),
            ("0o9", json!("0o9")),
            ("-0x1F", json!(-31)),
        ] {
            let value = match resolve(text) {
                Value::Null => json!(null),
                Value::Bool(value) => json!(value),
                Value::Number(value) => json!(value),
                Value::String(value) => json!(value),
                Value::Sequence(_) | Value::Mapping(_) | Value::Broken => unreachable!("a scalar"),
            };
            assert_eq!(value, wanted, "{text}");
        }
    }
}
