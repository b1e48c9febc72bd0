//! Problem details by RFC 9457, with the additional fields that clients of the Python service read.

use occopus_engine::Leftover;
use occopus_model::FileDiagnostic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Problem details by RFC 9457.
// Every field has a default: a client may get the response of a proxy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemDetails {
    /// Always `about:blank`: `status` is the kind of the problem, and `code` the exact one.
    #[serde(rename = "type", default)]
    #[cfg_attr(feature = "openapi", schema(required = true, example = "about:blank"))]
    pub kind: String,
    /// The HTTP status in words.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub status: u16,
    /// Description of this occurrence.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub detail: String,
    /// A stable code for programs, such as `engine.unknown-infrastructure`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub code: String,
    /// Advice on how to solve the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Problems of the posted document, with their source locations.
    #[serde(default, deserialize_with = "readable_elements", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub problems: Vec<FileDiagnostic>,
    /// Instances that could not be removed.
    #[serde(default, deserialize_with = "readable_elements", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub left: Vec<Leftover>,
    /// Status in the bodies of the Python service: 300 for something unknown, 400 for something impossible.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub status_code: u16,
    /// Same as `title`; a field of the Python service.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub reason: String,
    /// Same as `detail`; a field of the Python service.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub message: String,
}

/// Reads the elements of a list that this version can read: another version may have written others, and the rest of the
/// problem counts.
fn readable_elements<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let Value::Array(elements) = Value::deserialize(deserializer)? else { return Ok(Vec::new()) };
    Ok(elements.into_iter().filter_map(|element| serde_json::from_value(element).ok()).collect())
}

impl ProblemDetails {
    /// Returns the detail with the lines of the document's problems.
    pub fn text(&self) -> String {
        let lines = self.problems.iter().filter_map(|problem| {
            let line = problem.line?;
            // Does not repeat the detail.
            let more = problem.message.strip_prefix(self.detail.as_str()).unwrap_or(&problem.message);
            let more = more.trim_start_matches([':', ' ']);
            Some(if more.is_empty() { format!("line {line}") } else { format!("line {line}: {more}") })
        });
        std::iter::once(self.detail.clone()).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use occopus_engine::InstanceState;
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_do_not_repeat_the_detail() {
        for (message, line) in [
            ("node bad: it ended", "line 6"),
            ("node bad: it ended: no such image", "line 6: no such image"),
            ("unknown key `x`", "line 6: unknown key `x`"),
        ] {
            let problem = FileDiagnostic { line: Some(6), message: message.into(), ..FileDiagnostic::default() };
            let details =
                ProblemDetails { detail: "node bad: it ended".into(), problems: vec![problem], ..Default::default() };
            assert_eq!(details.text(), format!("node bad: it ended\n{line}"));
        }
    }

    #[test]
    fn problems_of_other_versions_are_read() {
        let stored = json!({
            "type": "about:blank", "title": "Bad Gateway", "status": 502, "detail": "d", "code": "node.slow",
            "problems": [
                {"severity": "error", "code": "c", "message": "m", "node": "n", "file": "description", "line": 3,
                 "column": 1, "help": null},
                {"severity": "hint", "message": "of a newer service", "since": "2027"},
                {"severity": "error", "text": "without a message"},
            ],
            "left": [
                {"node": "n", "instance": "i", "driver": "local", "state": "failed", "handle": null, "message": "m"},
                {"node": "n", "instance": "j", "driver": "local", "state": "hibernating", "handle": null, "message": "m"},
                "of a newer service",
            ],
            "status_code": 502, "reason": "Bad Gateway", "message": "d", "trace": "of a newer service",
        });
        let read: ProblemDetails = serde_json::from_value(stored).expect("readable");
        assert_eq!((read.problems[0].node.as_deref(), read.problems[0].line), (Some("n"), Some(3)));
        assert!(!read.problems[1].is_warning() && read.problems.len() == 2);
        let left: Vec<_> = read.left.iter().map(|left| (left.instance.as_str(), left.state)).collect();
        assert_eq!(left, [("i", InstanceState::Failed), ("j", InstanceState::UnknownOutcome)]);
        assert_eq!((read.code.as_str(), read.detail.as_str()), ("node.slow", "d"));
        let other: ProblemDetails = serde_json::from_value(json!({"code": "c", "left": {"i": 1}})).expect("readable");
        assert!(other.code == "c" && other.left.is_empty());
        let of_a_proxy: ProblemDetails = serde_json::from_str("{}").expect("readable");
        assert_eq!(of_a_proxy, ProblemDetails::default());
    }
}
