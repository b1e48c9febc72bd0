//! Failures of commands: rendered for people with excerpts of their files, for programs as JSON, and as the exit status.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, IsTerminal};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, Severity, SourceCode, ThemeCharacters, ThemeStyles,
};
use occopus::{ConfigError, OpenError, source_location};
use occopus_api::{ErrorCode, ExitStatus, FailureFacts, FileDiagnostic};
use occopus_conformance::ConformanceError;
use occopus_engine::{
    EngineError, InfrastructureState, InvalidInfrastructureId, Leftover, NodeFailure, Orphan, Status,
};
use occopus_model::{Diagnostics, NamedText};
use serde_json::{Value, json};

use super::report::one_line;
use super::service_error::ServiceError;

/// Returns the exit status of a command that leaves an infrastructure in this state, and prints the cause if it is not 0.
pub(crate) fn exit_of_status(status: &Status) -> ExitStatus {
    let exit = exit_of_state(status.state);
    if exit != ExitStatus::Success {
        let cause = status.message.as_ref().map(|message| format!(": {}", one_line(message))).unwrap_or_default();
        super::print::note(format_args!("{} is {}{cause}", status.name, status.state));
    }
    exit
}

fn exit_of_state(state: InfrastructureState) -> ExitStatus {
    match state {
        InfrastructureState::Ready => ExitStatus::Success,
        InfrastructureState::Unreachable => ExitStatus::Unreachable,
        InfrastructureState::Building
        | InfrastructureState::Degraded
        | InfrastructureState::Failing
        | InfrastructureState::Held
        | InfrastructureState::Destroying => ExitStatus::NotReady,
    }
}

/// A failure of a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Errors in the user's files.
    Files(Diagnostics),
    /// An error of the engine, with the id of the infrastructure.
    Engine(Box<EngineError>, Option<String>),
    /// An error of a service, or of the connection to it.
    Service(Box<ServiceError>),
    /// Instances of an infrastructure that `destroy` could not remove.
    Leftovers(String, Vec<Leftover>),
    /// Machines without a record that clouds still list after `destroy`.
    Orphans(String, Vec<Orphan>),
    /// Nodes that could not be deployed, found before anything was changed.
    Nodes(Vec<NodeFailure>),
    /// Any other failure.
    Other(Message),
}

/// A failure with a message only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) code: &'static str,
    pub(crate) text: String,
    pub(crate) help: Option<String>,
}

impl Failure {
    /// Creates a failure with a message. The exit status and the help are those of the code.
    pub(crate) fn new(code: &'static str, text: impl fmt::Display) -> Self {
        let help = ErrorCode::find(code).and_then(|row| row.help).map(str::to_owned);
        Self::Other(Message { code, text: text.to_string(), help })
    }

    /// Sets the help of a failure with a message.
    pub(crate) fn help(self, help: impl fmt::Display) -> Self {
        match self {
            Self::Other(message) => Self::Other(Message { help: Some(help.to_string()), ..message }),
            other => other,
        }
    }

    /// Returns the stable code for programs.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Files(_) | Self::Nodes(_) => "files.invalid",
            Self::Engine(error, _) => error.code(),
            Self::Leftovers(..) => "engine.left",
            Self::Orphans(..) => "engine.unrecorded",
            Self::Service(error) => &error.code,
            Self::Other(message) => message.code,
        }
    }

    /// Returns the exit status.
    pub(crate) fn exit(&self) -> ExitStatus {
        let facts = match self {
            Self::Service(error) => return error.exit(),
            Self::Engine(error, _) => FailureFacts {
                has_leftovers: !error.left().is_empty(),
                is_of_node: matches!(**error, EngineError::Node { .. }),
            },
            _ => FailureFacts::default(),
        };
        ExitStatus::of_failure(self.code(), facts)
    }

    /// Returns the failure as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let message = match self {
            Self::Files(_) => "the files are not usable".to_owned(),
            Self::Engine(error, _) => error.to_string(),
            Self::Nodes(_) => "the nodes can't be deployed".to_owned(),
            Self::Leftovers(..) => "something could not be removed".to_owned(),
            Self::Orphans(..) => "machines without a record are left".to_owned(),
            Self::Service(service) => service.text.clone(),
            Self::Other(message) => message.text.clone(),
        };
        let mut error = json!({ "code": self.code(), "message": message, "exit": self.exit() as u8 });
        match self {
            Self::Files(diagnostics) => {
                let problems = diagnostics.iter().map(occopus_model::Diagnostic::to_file_diagnostic);
                error["problems"] = json!(problems.collect::<Vec<_>>());
            }
            Self::Engine(engine, id) => {
                error["infrastructure"] = json!(id);
                error["left"] = json!(engine.left());
                if let EngineError::Node { failure, rolled_back, .. } = &**engine {
                    error["failure"] = json!(failure);
                    error["rolled_back"] = json!(rolled_back);
                }
            }
            Self::Leftovers(id, left) => {
                error["infrastructure"] = json!(id);
                error["left"] = json!(left);
            }
            Self::Orphans(id, machines) => {
                error["infrastructure"] = json!(id);
                error["strange"] = json!(machines);
            }
            Self::Nodes(failures) => {
                let problems =
                    failures.iter().flat_map(|failure| source_location::failure_problems(failure, &|at| at.read()));
                error["problems"] = json!(problems.collect::<Vec<_>>());
            }
            Self::Service(service) => {
                error["infrastructure"] = json!(service.infrastructure);
                error["left"] = json!(service.left);
                error["problems"] = json!(service.problems);
                error["help"] = json!(service.help);
            }
            Self::Other(message) => error["help"] = json!(message.help),
        }
        json!({ "error": error })
    }

    /// Renders the failure for people.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Files(diagnostics) => render_problems(diagnostics),
            Self::Engine(error, id) => render(&engine_diagnostic(error, id.as_deref())),
            Self::Nodes(failures) => failures
                .iter()
                .map(|failure| {
                    let code = failure.code().to_owned();
                    let (mut shown, mut help) = (
                        SourceDiagnostic { code, message: failure.to_string(), ..SourceDiagnostic::default() },
                        Vec::new(),
                    );
                    shown.label_failure(failure, &mut help);
                    shown.help = (!help.is_empty()).then(|| help.join("\n"));
                    render(&shown)
                })
                .collect(),
            Self::Service(error) => render_service_error(error),
            Self::Leftovers(id, left) => render(&SourceDiagnostic {
                code: self.code().to_owned(),
                message: format!("{} could not be removed", count_instances(left.len())),
                help: Some(leftovers_help(id, left)),
                ..SourceDiagnostic::default()
            }),
            Self::Orphans(id, machines) => render(&SourceDiagnostic {
                code: self.code().to_owned(),
                message: format!(
                    "destroyed {id}, but its clouds still list {} with its ownership label and no record in this store",
                    if machines.len() == 1 { "1 machine".to_owned() } else { format!("{} machines", machines.len()) },
                ),
                help: Some(orphans_help(id, machines)),
                ..SourceDiagnostic::default()
            }),
            Self::Other(message) => render(&SourceDiagnostic {
                code: message.code.to_owned(),
                message: message.text.clone(),
                help: message.help.clone(),
                ..SourceDiagnostic::default()
            }),
        }
    }
}

/// Renders the diagnostics of a service at the user's lines; without any, the error itself.
fn render_service_error(error: &ServiceError) -> String {
    let help = match &error.infrastructure {
        Some(id) if !error.left.is_empty() => Some(leftovers_help(id, &error.left)),
        _ => error.help.clone(),
    };
    let (code, message) = (error.code.clone(), error.text.clone());
    match error.problems.split_last() {
        None => render(&SourceDiagnostic { code, message, help, ..SourceDiagnostic::default() }),
        Some((last, others)) => {
            // The help of the error comes at the end.
            let help: Vec<_> = last.help.iter().chain(&help).map(String::as_str).collect();
            let last = FileDiagnostic { help: (!help.is_empty()).then(|| help.join("\n")), ..last.clone() };
            render_diagnostics(others) + &render_diagnostics(&[last])
        }
    }
}

/// Renders diagnostics, each with its excerpt.
pub(crate) fn render_diagnostics(diagnostics: &[FileDiagnostic]) -> String {
    let render_one = |diagnostic: &FileDiagnostic| {
        let is_warning = diagnostic.is_warning();
        let (code, message, help) = (diagnostic.code.clone(), diagnostic.message.clone(), diagnostic.help.clone());
        let mut shown = SourceDiagnostic { code, message, help, is_warning, ..SourceDiagnostic::default() };
        let label = template_line(&diagnostic.message).unwrap_or("here").to_owned();
        shown.add_label(diagnostic.location().as_deref(), label);
        render(&shown)
    };
    diagnostics.iter().map(render_one).collect()
}

/// Returns the part of a message that begins with the line of a template: `line 2: ...`.
fn template_line(message: &str) -> Option<&str> {
    let names_line = |at: &usize| {
        let number = message[at + "line ".len()..].split(": ").next().unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    message.match_indices("line ").map(|(at, _)| at).find(names_line).map(|at| &message[at..])
}

/// Renders all diagnostics, each with its excerpt.
pub(crate) fn render_problems(diagnostics: &Diagnostics) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics.iter() {
        text += &render(diagnostic);
    }
    text
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Files(diagnostics)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error), None)
    }
}

impl From<InvalidInfrastructureId> for Failure {
    fn from(error: InvalidInfrastructureId) -> Self {
        EngineError::from(error).into()
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        Self::Service(Box::new(error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new("config.invalid", error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(source) => EngineError::from(source).into(),
            OpenError::Files(diagnostics) => diagnostics.into(),
            OpenError::Conformance(ConformanceError::Fixture(error)) => Self::new("fixture.invalid", error),
            other => Self::new("start.failed", other),
        }
    }
}

/// Returns the diagnostic of an engine's error: the message, the location, and help.
fn engine_diagnostic(error: &EngineError, id: Option<&str>) -> SourceDiagnostic {
    let mut shown =
        SourceDiagnostic { code: error.code().to_owned(), message: error.to_string(), ..SourceDiagnostic::default() };
    // The code of a node's failure is that of a plugin's call.
    let row = ErrorCode::find(error.code()).filter(|_| !matches!(error, EngineError::Node { .. }));
    let mut help: Vec<_> = row.and_then(|row| row.help).map(str::to_owned).into_iter().collect();
    match error {
        EngineError::NoPlugin { location, .. } => shown.add_label(location.as_deref(), "here".to_owned()),
        EngineError::Node { failure, rolled_back, left } => {
            shown.label_failure(failure, &mut help);
            SourceDiagnostic::quote_output(failure, &mut help);
            match id {
                _ if *rolled_back && left.is_empty() => {
                    let text = "everything that this run made was removed; `--on-failure keep` keeps it for inspection";
                    help.push(text.to_owned());
                }
                Some(id) if left.is_empty() => help.push(format!(
                    "what was made is kept; to show it: occopus status -i {id}; to remove it: occopus destroy -i {id}"
                )),
                _ => {}
            }
        }
        EngineError::Stopped { rolled_back: true, left } if left.is_empty() => {
            help.push("everything that this run made was removed".to_owned());
        }
        _ => {}
    }
    if let (Some(id), false) = (id, error.left().is_empty()) {
        help.push(leftovers_help(id, error.left()));
    }
    shown.help = (!help.is_empty()).then(|| help.join("\n"));
    shown
}

fn leftovers_help(id: &str, left: &[Leftover]) -> String {
    let mut text = "still there:".to_owned();
    for leftover in left {
        text += &format!("\n  {leftover}");
        if let Some(handle) = &leftover.handle {
            text += &format!(" [{handle}]");
        }
    }
    text + &format!(
        "\nto remove it: occopus destroy -i {id}\nto drop the record of an instance that cannot be removed: \
         occopus destroy -i {id} --forget INSTANCE"
    )
}

fn orphans_help(id: &str, machines: &[Orphan]) -> String {
    let line = |machine: &Orphan| format!("\n  {} on {} [{}]", machine.instance, machine.driver, machine.handle);
    let lines: String = machines.iter().map(line).collect();
    format!(
        "still there:{lines}\nthey may belong to another store with the same id; to remove them: \
         occopus destroy -i {id} --orphans FILE"
    )
}

fn count_instances(number: usize) -> String {
    if number == 1 { "1 instance".to_owned() } else { format!("{number} instances") }
}

/// An error or warning with excerpts of the user's files.
#[derive(Debug, Default)]
struct SourceDiagnostic {
    code: String,
    is_warning: bool,
    message: String,
    help: Option<String>,
    source: Option<NamedText>,
    file: String,
    labels: Vec<LabeledSpan>,
    /// Messages with locations in other files than the first.
    elsewhere: Vec<String>,
}

impl SourceDiagnostic {
    /// Adds labels for the lines that a failure is about. Details without a location go to the help.
    fn label_failure(&mut self, failure: &NodeFailure, help: &mut Vec<String>) {
        for detail in &failure.details {
            // The first detail of a driver's fault is the message itself.
            let is_in_message = self.message.ends_with(&detail.message);
            self.add_label(
                detail.location.as_deref(),
                if is_in_message { "here".to_owned() } else { detail.message.clone() },
            );
            if detail.location.is_none() && !is_in_message {
                help.push(detail.message.clone());
            }
        }
        if self.labels.is_empty() && self.elsewhere.is_empty() {
            self.add_label(failure.location(), "defined here".to_owned());
        }
    }

    /// Quotes the last output of a failed node's machine in the help.
    fn quote_output(failure: &NodeFailure, help: &mut Vec<String>) {
        if let Some(output) = &failure.output {
            help.push(format!("the last lines of its output:\n{}", super::report::quote_output(output)));
        }
    }

    /// Adds a label at `FILE:LINE:COLUMN`.
    fn add_label(&mut self, location: Option<&str>, message: String) {
        let Some(location) = location.and_then(source_location::SourceLocation::parse) else { return };
        if self.source.is_none() {
            self.source = location.read().map(|text| NamedText::new(location.file, text));
            location.file.clone_into(&mut self.file);
        }
        let text = self.source.as_ref().map(NamedText::text).unwrap_or_default();
        let (offset, message) = source_location::locate(&location, text, &message);
        match offset {
            Some(offset) if location.file == self.file => {
                self.labels.push(LabeledSpan::new(Some(message), offset.start, offset.len()));
            }
            // The file has changed or is another one: only the location is shown.
            _ => self.elsewhere.push(format!("{}:{}:{}: {message}", location.file, location.line, location.column)),
        }
    }
}

impl fmt::Display for SourceDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.elsewhere.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl StdError for SourceDiagnostic {}

impl Diagnostic for SourceDiagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(if self.is_warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

/// Renders a diagnostic for standard error.
fn render(diagnostic: &dyn Diagnostic) -> String {
    let styles = if super::print::colours_on_stderr() { ThemeStyles::ansi() } else { ThemeStyles::none() };
    let theme = GraphicalTheme { characters: ThemeCharacters::unicode(), styles };
    let mut handler = GraphicalReportHandler::new_themed(theme).with_links(false).without_cause_chain();
    // Lines in files and pipes are not wrapped, so that they can be searched.
    handler = if io::stderr().is_terminal() { handler.with_width(110) } else { handler.with_wrap_lines(false) };
    let mut text = String::new();
    match handler.render_report(&mut text, diagnostic) {
        Ok(()) => text,
        // Only if a source cannot be read; the message is enough.
        Err(_) => format!("error: {diagnostic}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_an_infrastructure_decides_the_exit_status() {
        let exits = [
            (InfrastructureState::Ready, 0),
            (InfrastructureState::Building, 6),
            (InfrastructureState::Degraded, 6),
            (InfrastructureState::Failing, 6),
            (InfrastructureState::Held, 6),
            (InfrastructureState::Destroying, 6),
            (InfrastructureState::Unreachable, 7),
        ];
        for (state, exit) in exits {
            assert_eq!(exit_of_state(state) as u8, exit, "{state}");
        }
    }
}
