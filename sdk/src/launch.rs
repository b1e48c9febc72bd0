//! Command and environment of a node: `command` and `env`, as contextualisers hand them to drivers of processes and
//! containers.

use serde_json::Value;

use crate::Fault;

/// A command and its environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments; none when the user wrote no command.
    pub command: Option<Vec<String>>,
    /// Variables in the user's order. Without a value, the variable is to be unset.
    pub environment: Vec<(String, Option<String>)>,
}

impl Launch {
    /// Reads the attributes of a request. `command` is a list, or a text that is split as a shell does (quotes, no
    /// variables); `env` is a list of `NAME=VALUE` or a mapping.
    ///
    /// # Errors
    /// `give-up` if one of them has another form.
    pub fn read(attributes: &Value) -> Result<Self, Fault> {
        Ok(Self {
            command: command(attributes.get("command").unwrap_or(&Value::Null))
                .map_err(|why| attribute_fault("command", &why))?,
            environment: environment(attributes.get("env").unwrap_or(&Value::Null))
                .map_err(|why| attribute_fault("env", &why))?,
        })
    }
}

fn attribute_fault(attribute: &str, why: &str) -> Fault {
    Fault::give_up(
        format!("attributes.{attribute}"),
        format!("`{attribute}` of the contextualisation section can't be used: {why}"),
    )
}

fn command(value: &Value) -> Result<Option<Vec<String>>, String> {
    let words = match value {
        Value::Null => return Ok(None),
        Value::String(text) => shell_split(text)?,
        Value::Array(items) => {
            items.iter().map(|item| scalar_text(item).ok_or_else(|| not_text(item))).collect::<Result<_, _>>()?
        }
        other => return Err(format!("it must be a text or a list of texts, not {other}")),
    };
    Ok((!words.is_empty()).then_some(words))
}

fn environment(value: &Value) -> Result<Vec<(String, Option<String>)>, String> {
    let variables: Vec<_> = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items
            .iter()
            .map(|item| match item.as_str().map(|text| text.split_once('=').ok_or(text)) {
                Some(Ok((name, value))) => Ok((name.to_owned(), Some(value.to_owned()))),
                Some(Err(name)) => Ok((name.to_owned(), None)),
                None => Err(format!("{item} is not of the form NAME=VALUE")),
            })
            .collect::<Result<_, _>>()?,
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::Null => Ok((name.clone(), None)),
                value => Ok((name.clone(), Some(scalar_text(value).ok_or_else(|| not_text(value))?))),
            })
            .collect::<Result<_, String>>()?,
        other => return Err(format!("it must be a list of NAME=VALUE or a mapping, not {other}")),
    };
    match variables.iter().find(|(name, _)| name.is_empty() || name.contains(['=', '\0'])) {
        Some((name, _)) => Err(format!("`{name}` is not the name of a variable")),
        None => Ok(variables),
    }
}

/// Returns the text of a scalar. YAML reads some texts as numbers and booleans.
fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn not_text(value: &Value) -> String {
    format!("{value} is not a text")
}

/// Splits as Python's `shlex.split` does, whose results existing descriptions rely on: quotes and backslashes of a POSIX
/// shell; no comments, no variables.
fn shell_split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => quoted(&mut characters, '\'', word.get_or_insert_default())?,
            '"' => quoted(&mut characters, '"', word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(characters.next().ok_or("nothing follows the last backslash")?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads up to the closing quote. Within double quotes a backslash escapes a quote and itself.
fn quoted(characters: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Result<(), String> {
    let missing = || format!("a closing {quote} is missing");
    loop {
        match characters.next().ok_or_else(missing)? {
            end if end == quote => return Ok(()),
            '\\' if quote == '"' => match characters.next().ok_or_else(missing)? {
                escaped @ ('"' | '\\') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_split_like_pythons_shlex() {
        // The expected words are those of Python 3.11's shlex.split.
        for (text, words) in [
            ("sh -c /root/start.sh", vec!["sh", "-c", "/root/start.sh"]),
            ("sh -c 'echo \"$HOME\"  # x'", vec!["sh", "-c", "echo \"$HOME\"  # x"]),
            ("a\tb\n c", vec!["a", "b", "c"]),
            (r#"a"b c"d 'e'f"#, vec!["ab cd", "ef"]),
            (r#"a\ b "c\"d\\e\f" '\'"#, vec!["a b", r#"c"d\e\f"#, r"\"]),
            ("echo '' \"\"", vec!["echo", "", ""]),
            ("echo # no comment", vec!["echo", "#", "no", "comment"]),
            ("", vec![]),
        ] {
            assert_eq!(shell_split(text).unwrap(), words, "{text}");
        }
        for broken in ["a 'b", "a \"b", "a \\", "\"a\\"] {
            assert!(shell_split(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn lists_and_mappings_are_read() {
        let launch =
            Launch::read(&json!({"command": ["sleep", 5], "env": ["A=1", "B=x=y", "C"], "connections": []})).unwrap();
        assert_eq!(launch.command.unwrap(), ["sleep", "5"]);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(launch.environment, [("A".into(), some("1")), ("B".into(), some("x=y")), ("C".into(), None)]);

        let launch = Launch::read(&json!({"env": {"A": 1, "B": "x", "C": null, "D": true}, "command": null})).unwrap();
        assert_eq!(launch.command, None);
        assert_eq!(launch.environment.len(), 4);
        assert_eq!(launch.environment[3], ("D".into(), some("true")));
        assert_eq!(Launch::read(&json!({"command": "  "})).unwrap(), Launch::default());
    }

    #[test]
    fn what_can_not_be_used_is_named() {
        for (attributes, word) in [
            (json!({"command": 5}), "`command`"),
            (json!({"command": [["a"]]}), "`command`"),
            (json!({"command": "it's"}), "closing '"),
            (json!({"env": "A=1"}), "`env`"),
            (json!({"env": ["=1"]}), "name of a variable"),
            (json!({"env": {"A": []}}), "not a text"),
        ] {
            let fault = Launch::read(&attributes).unwrap_err();
            assert!(fault.message.contains(word), "{}", fault.message);
        }
    }
}
