//! Errors as Azure sends them: `{"error": {"code", "message", "target"?, "details"?: [...], "innererror"?}}`
//! (<https://learn.microsoft.com/azure/azure-resource-manager/management/resource-manager-error-codes>).

use occopus_sdk::http::Response;
use serde_json::Value;

/// Codes that only say that something inside failed.
const WRAPPERS: [&str; 8] = [
    "DeploymentFailed",
    "ResourceDeploymentFailure",
    "ResourceOperationFailure",
    "InvalidTemplateDeployment",
    "MultipleErrorsOccurred",
    "Failed",
    "BadRequest",
    "Conflict",
];
/// Depth to which errors are looked for inside of others.
const MAX_DEPTH: usize = 6;
/// Characters of a code, or of a target.
const MAX_CODE_CHARS: usize = 200;
/// Characters of a message.
const MAX_MESSAGE_CHARS: usize = 2000;

/// An error of Azure: the telling one, where errors stand inside of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArmError {
    /// Code, such as `SkuNotAvailable`.
    pub code: String,
    /// Microsoft's own words.
    pub message: String,
    /// Property of the request that it is about, such as `adminPassword`.
    pub target: Option<String>,
    /// Codes around it, outermost first.
    pub outer: Vec<String>,
}

impl ArmError {
    /// Reads the error of an answer; none if it has none.
    pub fn of(response: &Response) -> Option<Self> {
        Self::read(&response.json().ok()?)
    }

    /// Reads an error: `{"error": {...}}`, or the object inside.
    pub fn read(value: &Value) -> Option<Self> {
        let object = value.get("error").filter(|error| error.is_object()).unwrap_or(value);
        Self::telling(object, 0)
    }

    /// Returns true if this is the code, or one around it.
    pub fn has(&self, code: &str) -> bool {
        self.code.eq_ignore_ascii_case(code) || self.outer.iter().any(|outer| outer.eq_ignore_ascii_case(code))
    }

    /// Returns the error inside of which no more telling one stands.
    fn telling(object: &Value, depth: usize) -> Option<Self> {
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let own = text("code").map(|code| Self {
            code: code.chars().take(MAX_CODE_CHARS).collect(),
            message: text("message").unwrap_or("(no explanation)").chars().take(MAX_MESSAGE_CHARS).collect(),
            target: text("target").map(|target| target.chars().take(MAX_CODE_CHARS).collect()),
            outer: Vec::new(),
        });
        if depth >= MAX_DEPTH {
            return own;
        }
        let is_wrapper = own.as_ref().is_none_or(|own| WRAPPERS.iter().any(|code| own.code.eq_ignore_ascii_case(code)));
        let details = object.get("details").and_then(Value::as_array).into_iter().flatten();
        let mut inside = details.filter_map(|detail| Self::telling(detail, depth + 1));
        // A deployment puts the answer of the service as text into its message.
        let written = || {
            let inner: Value = serde_json::from_str(text("message")?).ok()?;
            Self::telling(inner.get("error").unwrap_or(&inner), depth + 1)
        };
        let inner = inside.next().or_else(written);
        match (own, inner) {
            (Some(own), Some(inner)) if is_wrapper => {
                let outer = std::iter::once(own.code).chain(inner.outer).collect();
                Some(Self { outer, target: inner.target.or(own.target), ..inner })
            }
            (Some(own), Some(inner)) => Some(Self { target: own.target.or(inner.target), ..own }),
            (own, inner) => own.or(inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> (String, String) {
        let error = ArmError::read(&value).unwrap();
        (error.code, error.message)
    }

    #[test]
    fn the_telling_error_is_found() {
        let plain = json!({"error": {"code": "SkuNotAvailable", "message": " no size "}});
        assert_eq!(read(plain), ("SkuNotAvailable".into(), "no size".into()));
        let bare = json!({"code": "NotFound", "message": "none"});
        assert_eq!(read(bare), ("NotFound".into(), "none".into()));
        let inside = json!({"error": {"code": "ResourceOperationFailure", "message": "failed", "details": [
            {"code": "ResourceDeploymentFailure", "message": "failed", "details": [{"code": "AllocationFailed", "message": "full"}]}]}});
        let error = ArmError::read(&inside).unwrap();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("AllocationFailed", "full"));
        assert!(error.has("ResourceOperationFailure") && error.has("allocationfailed") && !error.has("Other"));
        let text = json!({"error": {"code": "DeploymentFailed",
            "message": "{\"error\": {\"code\": \"QuotaExceeded\", \"message\": \"no more\"}}"}});
        assert_eq!(read(text), ("QuotaExceeded".into(), "no more".into()));
        let own = json!({"error": {"code": "InvalidParameter", "message": "bad", "target": "vmSize",
            "details": [{"code": "Other", "message": "x"}]}});
        let error = ArmError::read(&own).unwrap();
        assert_eq!((error.code.as_str(), error.target.as_deref()), ("InvalidParameter", Some("vmSize")));
    }

    #[test]
    fn what_is_not_an_error_is_none() {
        for value in [
            json!(null),
            json!([]),
            json!({}),
            json!("x"),
            json!({"error": "invalid_client"}),
            json!({"error": {}}),
            json!({"error": {"code": 5}}),
            json!({"error": {"code": ""}}),
        ] {
            assert_eq!(ArmError::read(&value), None, "{value}");
        }
        let mut deep = json!({"code": "Inner", "message": "x"});
        for _ in 0..100 {
            deep = json!({"code": "Conflict", "message": "x", "details": [deep]});
        }
        assert_eq!(ArmError::read(&deep).unwrap().code, "Conflict");
    }
}
