//! Errors as answers: problem details by RFC 9457, with the fields in which clients of the existing service look.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use occopus::{OpenError, source_location};
use occopus_engine::ports::StoreError;
use occopus_engine::{EngineError, NodeFailure};
use occopus_model::Diagnostics;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::AccessError;

/// The name of a posted document in places: there is no file.
pub(crate) const POSTED_DOCUMENT: &str = "description";

/// The name of a file, without where it is: what `import` has read on the machine of the service is told of to whoever uses it.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The same of problems.
pub(crate) fn strip_folders(mut problems: Vec<Value>) -> Vec<Value> {
    for file in problems.iter_mut().filter_map(|problem| problem.get_mut("file")) {
        if let Some(name) = file.as_str().map(|path| file_name(path).to_owned()) {
            *file = name.into();
        }
    }
    problems
}

/// What is wrong, as RFC 9457 tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// `about:blank`: the status says what kind of problem it is, and `code` which.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What happened.
    detail: String,
    /// A stable code for programs, such as `engine.unknown-infrastructure`.
    code: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    /// What is wrong with the posted document, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    problems: Vec<Value>,
    /// What could not be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    left: Vec<Value>,
    /// As the existing service has it in its bodies: 300 for what is not known, 400 for what can't be done.
    status_code: u16,
    /// As the existing service has it: the title.
    reason: String,
    /// As the existing service has it: the detail.
    message: String,
}

impl ProblemDetails {
    /// What happened, and how to mend it.
    pub(crate) fn into_text(self) -> (String, Option<String>) {
        let places = self.problems.iter().filter_map(|problem| {
            let (line, message) = (problem["line"].as_u64()?, problem["message"].as_str()?);
            // What has been said is not said again.
            let more = message.strip_prefix(self.detail.as_str()).unwrap_or(message).trim_start_matches([':', ' ']);
            Some(if more.is_empty() { format!("line {line}") } else { format!("line {line}: {more}") })
        });
        let text = std::iter::once(self.detail.clone()).chain(places).collect::<Vec<_>>().join("\n");
        (text, self.help)
    }
}

/// Why a request was not answered as wished.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    details: Box<ProblemDetails>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let (detail, title) = (detail.into(), status.canonical_reason().unwrap_or_default().to_owned());
        let details = ProblemDetails {
            kind: "about:blank".into(),
            title: title.clone(),
            status: status.as_u16(),
            detail: detail.clone(),
            code: code.into(),
            help: None,
            problems: Vec::new(),
            left: Vec::new(),
            status_code: status.as_u16(),
            reason: title,
            message: detail,
        };
        Self { status, details: Box::new(details), headers: Vec::new() }
    }

    /// What came of something that was asked for before, told again. What went wrong there is not the fault of this request.
    pub(crate) fn from_details(details: ProblemDetails, otherwise: StatusCode) -> Self {
        let status = StatusCode::from_u16(details.status).ok().filter(StatusCode::is_server_error).unwrap_or(otherwise);
        let title = status.canonical_reason().unwrap_or_default();
        let (status_code, title) = (status.as_u16(), title.to_owned());
        let details = ProblemDetails { status: status_code, status_code, reason: title.clone(), title, ..details };
        Self { status, details: Box::new(details), headers: Vec::new() }
    }

    /// Something in the request can't be used.
    pub(crate) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// There is no such thing.
    pub(crate) fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// What the existing service says in `status_code`.
    pub(crate) fn with_legacy_status(mut self, status_code: u16) -> Self {
        self.details.status_code = status_code;
        self
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.details.help = Some(help.into());
        self
    }

    /// With what is wrong with the posted document.
    pub(crate) fn with_problems(mut self, problems: Vec<Value>) -> Self {
        self.details.problems = strip_folders(problems);
        self
    }

    /// With what exists and should not.
    pub(crate) fn with_leftovers(mut self, left: &[occopus_engine::Leftover]) -> Self {
        self.details.left = left.iter().map(|left| serde_json::json!(left)).collect();
        self
    }

    pub(crate) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((RETRY_AFTER, seconds.into()));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// To be kept, and shown to whoever asks later.
    pub(crate) fn into_details(self) -> ProblemDetails {
        *self.details
    }

    /// The posted document is wrong.
    pub(crate) fn invalid_document(problems: &Diagnostics) -> Self {
        let errors: Vec<_> = problems.iter().filter(|problem| problem.is_error()).collect();
        let detail = match errors.as_slice() {
            [one] => one.to_string(),
            all => format!(
                "the description has {} mistakes, the first: {}",
                all.len(),
                all.first().map_or_else(String::new, ToString::to_string)
            ),
        };
        let problems = problems.iter().map(occopus_model::Diagnostic::to_json).collect();
        Self::bad_request("files.invalid", detail).with_problems(problems)
    }

    /// Nodes could not be rendered, or be authenticated.
    pub(crate) fn failed_nodes(failures: &[NodeFailure], text: &str) -> Self {
        let text_of =
            |place: &source_location::SourceLocation<'_>| (place.file == POSTED_DOCUMENT).then(|| text.to_owned());
        let problems: Vec<_> =
            failures.iter().flat_map(|failure| source_location::failure_problems(failure, &text_of)).collect();
        let detail = failures.first().map(ToString::to_string).unwrap_or_default();
        Self::bad_request("files.invalid", detail).with_problems(problems)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(code = self.details.code, "{}", self.details.detail);
        }
        let body = serde_json::to_string(&*self.details).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(CONTENT_TYPE, content_type)], body).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<AccessError> for ApiError {
    fn from(refusal: AccessError) -> Self {
        let mut problem = Self::new(refusal.status(), refusal.code(), refusal.to_string());
        problem.details.help = refusal.help().map(str::to_owned);
        problem.headers.extend(refusal.headers());
        problem
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let status = match &error {
            EngineError::UnknownInfrastructure { .. }
            | EngineError::UnknownNode { .. }
            | EngineError::UnknownInstance { .. } => StatusCode::NOT_FOUND,
            EngineError::InvalidId { .. } | EngineError::Invalid { .. } | EngineError::NoPlugin { .. } => {
                StatusCode::BAD_REQUEST
            }
            EngineError::Limits { .. }
            | EngineError::TooMany { .. }
            | EngineError::Destroying { .. }
            | EngineError::Owned { .. } => StatusCode::CONFLICT,
            EngineError::LeaseLost { .. } | EngineError::Stopped { .. } => StatusCode::SERVICE_UNAVAILABLE,
            EngineError::Store { source } => return Self::from_store(source, error.code()),
            EngineError::Node { .. } => StatusCode::BAD_GATEWAY,
            EngineError::Corrupt { .. } | EngineError::Newer { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut problem = Self::new(status, error.code(), error.to_string()).with_leftovers(error.left());
        problem.details.status_code = match status {
            StatusCode::NOT_FOUND => 300,
            StatusCode::CONFLICT => 400,
            other => other.as_u16(),
        };
        match error {
            EngineError::Node { failure, rolled_back, left } => {
                let help = match (rolled_back, left.is_empty()) {
                    (true, true) => "everything that this run made was removed",
                    (_, true) => "what was made is kept",
                    (_, false) => "something is left: DELETE the infrastructure to remove it",
                };
                let help = match &failure.output {
                    Some(output) => format!("{help}; the last lines of its output:\n{output}"),
                    None => help.to_owned(),
                };
                problem.with_problems(source_location::failure_problems(&failure, &|_| None)).with_help(help)
            }
            EngineError::Owned { .. } => problem.with_help("it goes on when whoever works on it lets go"),
            _ => problem,
        }
    }
}

impl ApiError {
    fn from_store(error: &StoreError, code: &str) -> Self {
        match error {
            StoreError::Unavailable { message } | StoreError::Unknown { message } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).with_retry_after(1)
            }
            StoreError::Unusable { message } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Files(problems) => Self::invalid_document(&problems),
            OpenError::Store(error) => error.into(),
            OpenError::Engine(error) => error.into(),
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "start.failed", other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_not_said_again_with_its_line() {
        let details = |messages: &[&str]| ProblemDetails {
            problems: messages.iter().map(|message| serde_json::json!({"line": 6, "message": message})).collect(),
            ..ApiError::bad_request("x", "node bad: it ended").into_details()
        };
        for (message, line) in [
            ("node bad: it ended", "line 6"),
            ("node bad: it ended: no such image", "line 6: no such image"),
            ("unknown key `x`", "line 6: unknown key `x`"),
        ] {
            assert_eq!(details(&[message]).into_text().0, format!("node bad: it ended\n{line}"));
        }
    }

    #[test]
    fn what_is_left_and_why_is_told_again_as_a_fault_of_the_cloud() {
        let left = occopus_engine::Leftover {
            node: "web".into(),
            instance: "i-1".into(),
            driver: "docker".into(),
            state: occopus_engine::InstanceState::Creating,
            handle: None,
            message: "find failed 5 times: connection refused".into(),
        };
        for (status, told) in [(500, 500), (503, 503), (502, 502), (400, 502), (404, 502)] {
            let status = StatusCode::from_u16(status).unwrap();
            let details = ApiError::new(status, "engine.left", "1 instance")
                .with_leftovers(std::slice::from_ref(&left))
                .into_details();
            let problem = ApiError::from_details(details, StatusCode::BAD_GATEWAY).with_help("again");
            assert_eq!(problem.status().as_u16(), told);
            let body = serde_json::to_value(problem.into_details()).unwrap();
            assert_eq!((&body["status"], &body["status_code"]), (&told.into(), &told.into()));
            assert_eq!(body["left"][0]["message"], left.message);
            assert_eq!((&body["reason"], &body["message"]), (&body["title"], &body["detail"]));
        }
    }
}
