//! Errors of a service, from its problem details (RFC 9457), and of the connection to it.

use http::StatusCode;
use occopus_api::{ErrorCode, ExitStatus, FailureFacts, FileDiagnostic, ProblemDetails};
use occopus_engine::Leftover;

/// An error of a service, or of the connection to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServiceError {
    pub(crate) code: String,
    pub(crate) text: String,
    pub(crate) help: Option<String>,
    /// Diagnostics of the sent document.
    pub(crate) problems: Vec<FileDiagnostic>,
    /// Instances that should have been removed and were not.
    pub(crate) left: Vec<Leftover>,
    /// Id of the infrastructure.
    pub(crate) infrastructure: Option<String>,
    /// Status of the response.
    pub(crate) status: Option<StatusCode>,
    /// Set if the same request may succeed a little later.
    pub(crate) is_transient: bool,
}

impl ServiceError {
    /// Creates an error. The help is that of the code.
    pub(crate) fn new(code: &str, text: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            text: text.into(),
            help: help_of(code, None),
            problems: Vec::new(),
            left: Vec::new(),
            infrastructure: None,
            status: None,
            is_transient: false,
        }
    }

    /// Returns the error of a response, which may be that of a proxy.
    pub(crate) fn from_response(status: StatusCode, body: &[u8]) -> Self {
        let mut problem = serde_json::from_slice::<ProblemDetails>(body).unwrap_or_default();
        problem.status = status.as_u16();
        if problem.detail.is_empty() {
            problem.detail = format!("the service responds with {status}");
        }
        problem.into()
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(crate) fn transient(self) -> Self {
        Self { is_transient: true, ..self }
    }

    /// Removes the locations in the sent document, which the user has not seen.
    pub(crate) fn without_locations(mut self) -> Self {
        self.problems = self.problems.into_iter().map(|diagnostic| diagnostic.relocated(None)).collect();
        self
    }

    /// Sets the id of the infrastructure.
    pub(crate) fn with_infrastructure(self, id: &str) -> Self {
        Self { infrastructure: Some(id.to_owned()), ..self }
    }

    /// Returns the exit status of a command that fails with it: that of the same error on this machine.
    pub(crate) fn exit(&self) -> ExitStatus {
        let facts = FailureFacts {
            has_leftovers: !self.left.is_empty(),
            is_of_node: self.status == Some(StatusCode::BAD_GATEWAY),
        };
        // An invalid document; a newer service may have another code for it.
        if self.status == Some(StatusCode::BAD_REQUEST) && !self.problems.is_empty() && !facts.has_leftovers {
            return ExitStatus::Invalid;
        }
        ExitStatus::of_failure(&self.code, facts)
    }
}

impl From<ProblemDetails> for ServiceError {
    fn from(problem: ProblemDetails) -> Self {
        let status = StatusCode::from_u16(problem.status).ok();
        let help = problem.help.or_else(|| help_of(&problem.code, status));
        let code = if problem.code.is_empty() { "service.refused".to_owned() } else { problem.code };
        let text = [problem.detail, problem.title].into_iter().find(|text| !text.is_empty());
        let text = text.unwrap_or_else(|| "the service rejects the request without a cause".to_owned());
        let is_transient = matches!(
            status,
            Some(StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
        );
        Self { help, problems: problem.problems, left: problem.left, status, is_transient, ..Self::new(&code, text) }
    }
}

/// Returns the help of a code; for a code without a row, that of a missing permission by the status.
fn help_of(code: &str, status: Option<StatusCode>) -> Option<String> {
    let by_status = || match status? {
        StatusCode::UNAUTHORIZED => ErrorCode::find("access.unauthenticated"),
        StatusCode::FORBIDDEN => ErrorCode::find("access.scope"),
        _ => None,
    };
    ErrorCode::find(code).or_else(by_status)?.help.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(status: u16, body: &str) -> ServiceError {
        ServiceError::from_response(StatusCode::from_u16(status).expect("a status"), body.as_bytes())
    }

    #[test]
    fn exit_statuses_are_those_of_this_machine() {
        for (status, code, exit) in [
            (409, "engine.owned", ExitStatus::Owned),
            (404, "engine.unknown-infrastructure", ExitStatus::Failed),
            (404, "engine.unknown-node", ExitStatus::Usage),
            (400, "engine.invalid-id", ExitStatus::Usage),
            (400, "files.invalid", ExitStatus::Invalid),
            (400, "engine.no-plugin", ExitStatus::Invalid),
            (500, "engine.left", ExitStatus::LeftBehind),
            (401, "access.unauthenticated", ExitStatus::Failed),
            (500, "something.new", ExitStatus::Failed),
            (400, "service.webhook", ExitStatus::Invalid),
            // A node failed: the code may be that of any plugin.
            (502, "engine.no-plugin", ExitStatus::Failed),
        ] {
            let error =
                parse(status, &json!({"code": code, "detail": "why", "title": "T", "status": status}).to_string());
            assert_eq!((error.exit(), error.text.as_str(), error.code.as_str()), (exit, "why", code));
        }
    }

    #[test]
    fn missing_permissions_have_help() {
        for (status, code) in [(401, "access.unauthenticated"), (403, "access.scope"), (401, "new"), (403, "")] {
            let error = parse(status, &json!({"code": code, "detail": "no"}).to_string());
            assert!(error.help.as_deref().is_some_and(|help| help.contains("token")), "{error:?}");
        }
        let error = parse(403, r#"{"code": "access.origin", "detail": "no"}"#);
        assert_eq!(error.help, None, "another token is of no use");
        let error = parse(401, r#"{"detail": "no", "help": "its own words"}"#);
        assert_eq!(error.help.as_deref(), Some("its own words"));
    }

    #[test]
    fn diagnostics_and_leftovers_are_read() {
        let body = json!({
            "detail": "the files are not usable",
            "problems": [{"severity": "error", "code": "key.unknown", "message": "unknown key `x`", "file": "d", "line": 3,
                          "column": 5, "end_line": 3, "end_column": 6, "help": "did you mean `y`?"}],
        });
        let error = parse(400, &body.to_string());
        assert_eq!((error.exit(), error.problems[0].location().as_deref()), (ExitStatus::Invalid, Some("d:3:5")));
        let leftover =
            json!({"node": "n", "instance": "i", "driver": "local", "state": "failed", "handle": null, "message": "m"});
        let error = parse(502, &body.to_string());
        assert_eq!(error.exit(), ExitStatus::Failed, "a node that failed later, and the place of its definition");
        let error = parse(500, &json!({"code": "engine.left", "detail": "d", "left": [leftover]}).to_string());
        assert_eq!((error.exit(), error.left.len()), (ExitStatus::LeftBehind, 1));
    }

    #[test]
    fn responses_of_proxies_are_shown() {
        for (body, is_transient) in [("<html>Bad Gateway</html>", true), ("", true), ("[1]", true)] {
            let error = parse(502, body);
            assert_eq!((error.text.contains("502 Bad Gateway"), error.is_transient), (true, is_transient), "{error:?}");
        }
    }
}
