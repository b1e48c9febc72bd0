//! Error responses of a service (problem details, RFC 9457) as failures of commands.

use occopus_api::{FileDiagnostic, ProblemDetails};
use occopus_engine::Leftover;
use reqwest::{Response, StatusCode};

use super::body::read_body;
use crate::failure::{ExitStatus, Failure};

/// An error of a service, or of the connection to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServiceError {
    pub(crate) exit: ExitStatus,
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
    pub(crate) fn new(exit: ExitStatus, code: &str, text: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            text: text.into(),
            help: None,
            problems: Vec::new(),
            left: Vec::new(),
            infrastructure: None,
            status: None,
            is_transient: false,
        }
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
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        Self::Service(Box::new(error))
    }
}

impl From<ProblemDetails> for ServiceError {
    fn from(problem: ProblemDetails) -> Self {
        let status = StatusCode::from_u16(problem.status).ok();
        let code = if problem.code.is_empty() { "service.refused".to_owned() } else { problem.code };
        let text = [problem.detail, problem.title].into_iter().find(|text| !text.is_empty());
        let text = text.unwrap_or_else(|| "the service rejects the request without a cause".to_owned());
        // The diagnostics of a node that failed later have locations in a valid document.
        let is_about_files = status == Some(StatusCode::BAD_REQUEST) && !problem.problems.is_empty();
        let exit = match code.as_str() {
            _ if !problem.left.is_empty() => ExitStatus::LeftBehind,
            "engine.owned" => ExitStatus::Owned,
            "engine.left" => ExitStatus::LeftBehind,
            "engine.invalid-id" | "engine.unknown-node" => ExitStatus::Usage,
            "engine.invalid" | "engine.no-plugin" | "files.invalid" | "credentials.missing" => ExitStatus::Invalid,
            _ if is_about_files => ExitStatus::Invalid,
            _ => ExitStatus::Failed,
        };
        let help = problem.help.or_else(|| default_help(&code, status).map(str::to_owned));
        let is_transient = matches!(
            status,
            Some(StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
        );
        Self {
            help,
            problems: problem.problems,
            left: problem.left,
            status,
            is_transient,
            ..Self::new(exit, &code, text)
        }
    }
}

fn default_help(code: &str, status: Option<StatusCode>) -> Option<&'static str> {
    match (code, status) {
        ("engine.unknown-infrastructure", _) => Some("`occopus status` lists all infrastructures"),
        ("engine.owned", _) => {
            Some("wait until it has finished; if it maintains the infrastructure, `occopus detach` stops it")
        }
        (_, Some(StatusCode::UNAUTHORIZED)) => Some(
            "pass a token in OCCOPUS_TOKEN or with `--token-file`; `occopus token create` makes one where the service runs",
        ),
        (_, Some(StatusCode::FORBIDDEN)) => {
            Some("another token is required: `occopus token create` makes one where the service runs")
        }
        _ => None,
    }
}

/// Size limit of an error response, in bytes: those of a service are shorter.
const MAX_PROBLEM_BYTES: usize = 4 << 20;

/// Reads an error response as a failure.
pub(super) async fn read_failure(response: Response) -> Failure {
    let status = response.status();
    let bytes = read_body(response, MAX_PROBLEM_BYTES).await.ok().flatten().unwrap_or_default();
    ServiceError::from(parse_problem(status, &bytes)).into()
}

fn parse_problem(status: StatusCode, bytes: &[u8]) -> ProblemDetails {
    let mut problem = serde_json::from_slice::<ProblemDetails>(bytes).unwrap_or_default();
    problem.status = status.as_u16();
    if problem.detail.is_empty() {
        problem.detail = format!("the service responds with {status}");
    }
    problem
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(status: u16, body: &str) -> ServiceError {
        parse_problem(StatusCode::from_u16(status).expect("a status"), body.as_bytes()).into()
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
        ] {
            let error =
                parse(status, &json!({"code": code, "detail": "why", "title": "T", "status": status}).to_string());
            assert_eq!((error.exit, error.text.as_str(), error.code.as_str()), (exit, "why", code));
        }
    }

    #[test]
    fn missing_permissions_have_help() {
        for status in [401, 403] {
            let error = parse(status, r#"{"code": "access.x", "detail": "no"}"#);
            assert!(error.help.as_deref().is_some_and(|help| help.contains("token")), "{error:?}");
        }
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
        assert_eq!((error.exit, error.problems[0].location().as_deref()), (ExitStatus::Invalid, Some("d:3:5")));
        let leftover =
            json!({"node": "n", "instance": "i", "driver": "local", "state": "failed", "handle": null, "message": "m"});
        let error = parse(502, &body.to_string());
        assert_eq!(error.exit, ExitStatus::Failed, "a node that failed later, and the place of its definition");
        let error = parse(500, &json!({"code": "engine.left", "detail": "d", "left": [leftover]}).to_string());
        assert_eq!((error.exit, error.left.len()), (ExitStatus::LeftBehind, 1));
    }

    #[test]
    fn responses_of_proxies_are_shown() {
        for (body, is_transient) in [("<html>Bad Gateway</html>", true), ("", true), ("[1]", true)] {
            let error = parse(502, body);
            assert_eq!((error.text.contains("502 Bad Gateway"), error.is_transient), (true, is_transient), "{error:?}");
        }
    }
}
