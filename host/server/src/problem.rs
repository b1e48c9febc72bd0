//! Error responses: problem details by RFC 9457, with the additional fields that clients of the Python service read.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use occopus::{OpenError, source_location};
use occopus_api::{FileDiagnostic, ProblemDetails};
use occopus_engine::ports::StoreError;
use occopus_engine::{EngineError, Leftover, NodeFailure};
use occopus_model::{Diagnostic, Diagnostics};

use crate::access::AccessError;

/// File name of a posted document in source locations.
pub(crate) const POSTED_DOCUMENT: &str = "description";

/// Returns the name of a file without its folders, which are not disclosed to clients: `import` reads files on the
/// machine of the service.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Removes the folders from the file names of problems.
pub(crate) fn strip_folders(mut problems: Vec<FileDiagnostic>) -> Vec<FileDiagnostic> {
    for file in problems.iter_mut().filter_map(|problem| problem.file.as_mut()) {
        *file = file_name(file).to_owned();
    }
    problems
}

/// An error response: status, problem details and headers.
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

    /// Returns the error of an earlier operation as the response to a later request. A status that blames the earlier
    /// request (4xx) becomes `fallback`.
    pub(crate) fn from_details(details: ProblemDetails, fallback: StatusCode) -> Self {
        let status = StatusCode::from_u16(details.status).ok().filter(StatusCode::is_server_error).unwrap_or(fallback);
        let title = status.canonical_reason().unwrap_or_default();
        let (status_code, title) = (status.as_u16(), title.to_owned());
        let details = ProblemDetails { status: status_code, status_code, reason: title.clone(), title, ..details };
        Self { status, details: Box::new(details), headers: Vec::new() }
    }

    /// Returns an error for an invalid request: status 400.
    pub(crate) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// Returns an error for something that does not exist: status 404.
    pub(crate) fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// Sets the status of the Python service, `status_code`.
    pub(crate) fn with_legacy_status(mut self, status_code: u16) -> Self {
        self.details.status_code = status_code;
        self
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.details.help = Some(help.into());
        self
    }

    /// Adds the problems of the posted document, without the folders of files.
    pub(crate) fn with_problems(mut self, problems: Vec<FileDiagnostic>) -> Self {
        self.details.problems = strip_folders(problems);
        self
    }

    /// Adds the instances that could not be removed.
    pub(crate) fn with_leftovers(mut self, left: &[Leftover]) -> Self {
        self.details.left = left.to_vec();
        self
    }

    pub(crate) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((RETRY_AFTER, seconds.into()));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the problem details, which can be stored with an operation.
    pub(crate) fn into_details(self) -> ProblemDetails {
        *self.details
    }

    /// Returns the error for an invalid document: status 400.
    pub(crate) fn invalid_document(diagnostics: &Diagnostics) -> Self {
        let errors: Vec<_> = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
        let detail = match errors.as_slice() {
            [one] => one.to_string(),
            all => format!(
                "the description has {} errors; the first: {}",
                all.len(),
                all.first().map_or_else(String::new, ToString::to_string)
            ),
        };
        let problems = diagnostics.iter().map(Diagnostic::to_file_diagnostic).collect();
        Self::bad_request("files.invalid", detail).with_problems(problems)
    }

    /// Returns the error for nodes that could not be rendered or authenticated: status 400, with locations in the
    /// document.
    pub(crate) fn failed_nodes(failures: &[NodeFailure], text: &str) -> Self {
        let text_of = |location: &source_location::SourceLocation<'_>| {
            (location.file == POSTED_DOCUMENT).then(|| text.to_owned())
        };
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
    fn from(error: AccessError) -> Self {
        let mut response = Self::new(error.status(), error.code(), error.to_string());
        response.details.help = error.help().map(str::to_owned);
        response.headers.extend(error.headers());
        response
    }
}

impl IntoResponse for AccessError {
    fn into_response(self) -> Response {
        ApiError::from(self).into_response()
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
            EngineError::Record { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let code = match &error {
            // The user has stopped nothing: the service stops its runs when it shuts down.
            EngineError::Stopped { .. } => "service.closing",
            other => other.code(),
        };
        let mut response = Self::new(status, code, error.to_string()).with_leftovers(error.left());
        response.details.status_code = match status {
            StatusCode::NOT_FOUND => 300,
            StatusCode::CONFLICT => 400,
            other => other.as_u16(),
        };
        match error {
            EngineError::Node { failure, rolled_back, left } => {
                let help = match (rolled_back, left.is_empty()) {
                    (true, true) => "everything that this run made was removed",
                    (_, true) => "what was made is kept",
                    (_, false) => "some machines are left: DELETE the infrastructure to remove them",
                };
                let help = match &failure.output {
                    Some(output) => format!("{help}; the last lines of its output:\n{output}"),
                    None => help.to_owned(),
                };
                response.with_problems(source_location::failure_problems(&failure, &|_| None)).with_help(help)
            }
            EngineError::Owned { .. } => response.with_help("retry after the owner has released it"),
            _ => response,
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
            OpenError::Files(diagnostics) => Self::invalid_document(&diagnostics),
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
    fn a_run_that_the_service_has_stopped_is_not_interrupted_by_the_user() {
        let error = EngineError::Stopped { rolled_back: false, left: Vec::new() };
        let details = ApiError::from(error).into_details();
        assert_eq!((details.code.as_str(), details.status), ("service.closing", 503));
        let exit = occopus_api::ErrorCode::find(&details.code).unwrap().exit;
        assert_eq!(exit, occopus_api::ExitStatus::Failed);
    }

    #[test]
    fn leftovers_of_an_operation_are_reported_as_a_server_error() {
        let left = Leftover {
            node: "web".into(),
            instance: "i-1".into(),
            driver: "docker".into(),
            state: occopus_engine::InstanceState::Creating,
            handle: None,
            message: "find failed 5 times: connection refused".into(),
        };
        for (status, reported) in [(500, 500), (503, 503), (502, 502), (400, 502), (404, 502)] {
            let status = StatusCode::from_u16(status).unwrap();
            let details = ApiError::new(status, "engine.left", "1 instance")
                .with_leftovers(std::slice::from_ref(&left))
                .into_details();
            let error = ApiError::from_details(details, StatusCode::BAD_GATEWAY).with_help("again");
            assert_eq!(error.status().as_u16(), reported);
            let body = serde_json::to_value(error.into_details()).unwrap();
            assert_eq!((&body["status"], &body["status_code"]), (&reported.into(), &reported.into()));
            assert_eq!(body["left"][0]["message"], left.message);
            assert_eq!((&body["reason"], &body["message"]), (&body["title"], &body["detail"]));
        }
    }
}
