//! Fields that only the user may set: the `resource` section, and the programs that a node runs on this machine.
//! Plugins may fill in the keys that the driver leaves open, and no others.

use occopus_model::contains_template;
use serde_json::{Map, Value};

use crate::ports::{Detail, Fault, OpenDecisions, Reaction};

/// Returns the user's section with the keys that a contextualiser may fill in. `written` is the section as it stands in
/// the file, `rendered` the same with its texts rendered by the host.
///
/// # Errors
/// Fails if the contextualiser sets a key that only the user may set.
pub(super) fn merge_open_keys(
    contextualiser: &str,
    open_decisions: &OpenDecisions,
    written: &Value,
    mut rendered: Value,
    answer: Value,
) -> Result<Value, Fault> {
    let (Some(section), Value::Object(answer)) = (rendered.as_object_mut(), answer) else { return Ok(rendered) };
    for (key, value) in answer {
        if open_decisions.fillable.contains(&key) {
            section.insert(key, value);
        } else if !is_user_value(written.get(&key), section.get(&key), &value) {
            let key = printable_key(&key);
            let message = format!(
                "the contextualiser `{contextualiser}` sets `{key}` of the `resource` section, which only the user may set"
            );
            let help = "write it into the node definition; a driver that lets contextualisers set a key declares \
                        `\"x-fillable\": true` for it in its schema (never for `type` and `endpoint`)";
            return Err(override_fault(message, format!("/resource/{key}"), help));
        }
    }
    Ok(rendered)
}

/// Returns the attributes for a driver that runs programs on this machine: only those of the user.
///
/// # Errors
/// Fails if the contextualiser sets an attribute that the user did not name.
pub(super) fn checked_attributes(
    contextualiser: &str,
    own: Map<String, Value>,
    answer: &Value,
) -> Result<Value, Fault> {
    let answer = answer.as_object().into_iter().flatten();
    if let Some((key, _)) = answer.filter(|(key, _)| *key != "connections").find(|(key, _)| !own.contains_key(*key)) {
        let key = printable_key(key);
        let message = format!(
            "the contextualiser `{contextualiser}` sets the attribute `{key}` of a node that runs on this machine, which only \
             the user may set"
        );
        let help = format!("write it into the node definition: `contextualisation: {{attributes: {{{key}: ...}}}}`");
        return Err(override_fault(message, "/contextualisation".to_owned(), &help));
    }
    Ok(Value::Object(own))
}

/// Returns whether a value contains no templates.
pub(crate) fn is_plain(value: &Value) -> bool {
    !contains_template(value)
}

/// Returns whether a value is the user's, as it was written or as it was rendered. Two renderings of a template may
/// differ, and that of the host is used.
fn is_user_value(written: Option<&Value>, rendered: Option<&Value>, value: &Value) -> bool {
    written.is_some_and(|written| written == value || !is_plain(written)) || rendered == Some(value)
}

/// Returns a plugin's key shortened and escaped, so that it is safe to print.
fn printable_key(key: &str) -> String {
    key.chars().take(60).flat_map(char::escape_debug).collect()
}

fn override_fault(message: String, pointer: String, help: &str) -> Fault {
    let mut fault = Fault::new(Reaction::GiveUp, "contextualiser.not-its-own", message);
    fault.details.push(Detail { pointer, message: "only the user's own text is used here".to_owned() });
    fault.details.push(Detail { pointer: String::new(), message: help.to_owned() });
    fault
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(written: &Value, answer: Value) -> Result<Value, String> {
        let open_decisions = OpenDecisions { fillable: ["description".to_owned()].into(), runs_programs: false };
        let mut rendered = written.clone();
        rendered["image"] = json!("rendered");
        merge_open_keys("odd", &open_decisions, written, rendered, answer).map_err(|fault| fault.message)
    }

    #[test]
    fn only_what_a_driver_leaves_open_is_filled_in() {
        let written = json!({"type": "cloud", "endpoint": "https://mine", "image": "{{ image }}", "size": 1});
        let own = json!({"type": "cloud", "endpoint": "https://mine", "image": "rendered", "size": 1});
        // As written, rendered, rendered otherwise, and in part.
        for answer in [written.clone(), own.clone(), json!({"image": "other"}), json!({}), json!(null), json!([1])] {
            assert_eq!(filled(&written, answer.clone()).as_ref(), Ok(&own), "{answer}");
        }
        let with = filled(&written, json!({"description": "data"})).expect("it is left open");
        assert_eq!((&with["description"], &with["endpoint"]), (&json!("data"), &json!("https://mine")));
        for (key, value) in
            [("endpoint", json!("http://evil")), ("type", json!("local")), ("size", json!(2)), ("more", json!(null))]
        {
            let error = filled(&written, json!({ key: value })).expect_err(key);
            assert!(error.contains("`odd`") && error.contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn what_runs_on_this_machine_is_what_the_user_named() {
        let own = || json!({"command": ["mine"]}).as_object().cloned().unwrap_or_default();
        let answer = json!({"command": ["evil"], "connections": []});
        assert_eq!(checked_attributes("odd", own(), &answer).ok(), Some(json!({"command": ["mine"]})));
        let fault = checked_attributes("odd", own(), &json!({"env": {"LD_PRELOAD": "x"}})).expect_err("not named");
        assert!(fault.message.contains("`env`"), "{fault:?}");
        assert!(checked_attributes("odd", Map::new(), &answer).is_err());
    }
}
