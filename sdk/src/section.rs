//! From the JSON that the host hands over to the author's own struct.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Fault;

/// Reads a section. `type` chose the plugin and says nothing more, so it is taken out first.
///
/// # Errors
/// A `give-up` that points at the place in the section that does not fit.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Fault> {
    let mut value: Value = serde_json::from_str(json)
        .map_err(|error| Fault::give_up("sdk.bad-json", format!("the host sent a section that is not JSON: {error}")))?;
    if let Value::Object(map) = &mut value {
        map.shift_remove("type");
    }
    from_value(value)
}

/// Reads a JSON value, with an error that points at the place that does not fit.
///
/// # Errors
/// A `give-up` with a pointer.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner().to_string();
        let message = if pointer.is_empty() {
            format!("the section does not fit: {inner}")
        } else {
            format!("the section does not fit at {pointer}: {inner}")
        };
        Fault::give_up("sdk.bad-section", message).at(pointer, inner)
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", escape(key))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// One step of a JSON pointer (RFC 6901).
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
