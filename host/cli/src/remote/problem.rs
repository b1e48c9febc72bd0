//! What a service says when it refuses: a problem (RFC 9457), as a failure of the command.

use occopus_engine::Leftover;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::read_body;
use crate::failure::{ExitStatus, Failure};

/// `application/problem+json`. Everything may be missing: a proxy may have answered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ProblemDetails {
    status: Option<u16>,
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    help: Option<String>,
    problems: Vec<FileDiagnostic>,
    left: Vec<Leftover>,
}

/// One thing that is wrong with what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct FileDiagnostic {
    #[serde(default)]
    pub(crate) severity: String,
    #[serde(default)]
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) file: Option<String>,
    #[serde(default)]
    pub(crate) line: Option<usize>,
    #[serde(default)]
    pub(crate) column: Option<usize>,
    #[serde(default)]
    pub(crate) help: Option<String>,
}

impl FileDiagnostic {
    /// `FILE:LINE:COLUMN`
    pub(crate) fn location(&self) -> Option<String> {
        Some(format!("{}:{}:{}", self.file.as_ref()?, self.line?, self.column?))
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let Self { severity, code, message, file, line, column, help } = self;
        json!({"severity": severity, "code": code, "message": message, "file": file, "line": line, "column": column, "help": help})
    }
}

/// Why a service did not do what it was asked, or could not be asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServiceError {
    pub(crate) exit: ExitStatus,
    pub(crate) code: String,
    pub(crate) text: String,
    pub(crate) help: Option<String>,
    /// About the document that was sent.
    pub(crate) problems: Vec<FileDiagnostic>,
    /// What should not exist any more and does.
    pub(crate) left: Vec<Leftover>,
    /// The infrastructure that it is about.
    pub(crate) infrastructure: Option<String>,
    /// Of the answer.
    pub(crate) status: Option<StatusCode>,
    /// The same request may succeed a little later.
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

    /// Without the places in what was sent, which nobody has seen.
    pub(crate) fn without_locations(mut self) -> Self {
        for told in &mut self.problems {
            (told.file, told.line, told.column) = (None, None, None);
        }
        self
    }

    /// With the infrastructure that it is about.
    pub(crate) fn with_infrastructure(self, id: &str) -> Self {
        Self { infrastructure: Some(id.to_owned()), ..self }
    }
}

impl From<ServiceError> for Failure {
    fn from(refused: ServiceError) -> Self {
        Self::Service(Box::new(refused))
    }
}

impl From<ProblemDetails> for ServiceError {
    fn from(problem: ProblemDetails) -> Self {
        let status = problem.status.and_then(|status| StatusCode::from_u16(status).ok());
        let code = problem.code.unwrap_or_else(|| "service.refused".to_owned());
        let text =
            problem.detail.or(problem.title).unwrap_or_else(|| "the service refuses, and does not say why".to_owned());
        // Those of a node that failed later are places in what was right.
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
        let is_passing = matches!(
            status,
            Some(StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
        );
        Self {
            help,
            problems: problem.problems,
            left: problem.left,
            status,
            is_transient: is_passing,
            ..Self::new(exit, &code, text)
        }
    }
}

fn default_help(code: &str, status: Option<StatusCode>) -> Option<&'static str> {
    match (code, status) {
        ("engine.unknown-infrastructure", _) => Some("`occopus status` lists all infrastructures"),
        ("engine.owned", _) => Some("wait for it to end; when it is maintained, `occopus detach` lets that stop"),
        (_, Some(StatusCode::UNAUTHORIZED)) => {
            Some("OCCOPUS_TOKEN or --token-file has the token; `occopus token create` makes one where the service runs")
        }
        (_, Some(StatusCode::FORBIDDEN)) => {
            Some("another token is needed: `occopus token create` makes one where the service runs")
        }
        _ => None,
    }
}

/// Bytes of a refusal: what is longer is none of a service's.
const MAX_PROBLEM_BYTES: usize = 4 << 20;

/// From an answer that is none of success.
pub(super) async fn read_failure(response: Response) -> Failure {
    let status = response.status();
    let bytes = read_body(response, MAX_PROBLEM_BYTES).await.ok().flatten().unwrap_or_default();
    ServiceError::from(parse_problem(status, &bytes)).into()
}

fn parse_problem(status: StatusCode, bytes: &[u8]) -> ProblemDetails {
    let problem = serde_json::from_slice::<ProblemDetails>(bytes).unwrap_or_default();
    let said = problem.detail.clone().or_else(|| Some(format!("the service answers {status}, and says no more")));
    ProblemDetails { status: Some(status.as_u16()), detail: said, ..problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> ServiceError {
        parse_problem(StatusCode::from_u16(status).expect("a status"), body.as_bytes()).into()
    }

    #[test]
    fn exits_are_those_of_the_same_failure_on_this_machine() {
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
            let told =
                refused(status, &json!({"code": code, "detail": "why", "title": "T", "status": status}).to_string());
            assert_eq!((told.exit, told.text.as_str(), told.code.as_str()), (exit, "why", code));
        }
    }

    #[test]
    fn what_is_missing_to_be_let_in_is_said() {
        for status in [401, 403] {
            let told = refused(status, r#"{"code": "access.x", "detail": "no"}"#);
            assert!(told.help.as_deref().is_some_and(|help| help.contains("token")), "{told:?}");
        }
        let told = refused(401, r#"{"detail": "no", "help": "its own words"}"#);
        assert_eq!(told.help.as_deref(), Some("its own words"));
    }

    #[test]
    fn problems_and_what_is_left_come_along() {
        let body = json!({
            "detail": "the files are not usable",
            "problems": [{"severity": "error", "code": "key.unknown", "message": "unknown key `x`", "file": "d", "line": 3,
                          "column": 5, "end_line": 3, "end_column": 6, "help": "did you mean `y`?"}],
        });
        let told = refused(400, &body.to_string());
        assert_eq!((told.exit, told.problems[0].location().as_deref()), (ExitStatus::Invalid, Some("d:3:5")));
        let leftover =
            json!({"node": "n", "instance": "i", "driver": "local", "state": "failed", "handle": null, "message": "m"});
        let told = refused(502, &body.to_string());
        assert_eq!(told.exit, ExitStatus::Failed, "a node that failed later, and the place of its definition");
        let told = refused(500, &json!({"code": "engine.left", "detail": "d", "left": [leftover]}).to_string());
        assert_eq!((told.exit, told.left.len()), (ExitStatus::LeftBehind, 1));
    }

    #[test]
    fn answers_of_others_are_told_as_they_are() {
        for (body, passing) in [("<html>Bad Gateway</html>", true), ("", true), ("[1]", true)] {
            let told = refused(502, body);
            assert_eq!((told.text.contains("502 Bad Gateway"), told.is_transient), (true, passing), "{told:?}");
        }
    }
}
