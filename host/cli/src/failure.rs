//! Why a command did not do what it was asked: shown to people with the lines that they wrote, to programs as JSON.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, Severity, SourceCode, ThemeCharacters, ThemeStyles,
};
use occopus::{ConfigError, OpenError, source_location};
use occopus_conformance::ConformanceError;
use occopus_engine::{EngineError, InfrastructureState, Leftover, NodeFailure, Orphan, Status};
use occopus_model::{Diagnostics, NamedText};
use serde_json::{Value, json};

use super::remote::{FileDiagnostic, ServiceError};
use super::report::one_line;

/// How the program ends. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitStatus {
    /// As asked.
    Success = 0,
    /// Not done; nothing is left of what was begun.
    Failed = 1,
    /// Typed wrongly.
    Usage = 2,
    /// The user's files are wrong.
    Invalid = 3,
    /// Another process works on it.
    Owned = 4,
    /// Something exists that should not.
    LeftBehind = 5,
    /// Done as far as possible, and something of the infrastructure is not as it should be.
    NotReady = 6,
    /// Nothing is known to be wrong, and some machines could not be observed.
    Unreachable = 7,
    /// By the user.
    Interrupted = 130,
}

impl ExitStatus {
    /// Returns the exit status of a command that leaves an infrastructure in this state, and prints why when it is not 0.
    pub(crate) fn of_status(status: &Status) -> Self {
        let exit = Self::of_state(status.state);
        if exit != Self::Success {
            let why = status.message.as_ref().map(|message| format!(": {}", one_line(message))).unwrap_or_default();
            super::print::note(format_args!("{} is {}{why}", status.name, status.state));
        }
        exit
    }

    fn of_state(state: InfrastructureState) -> Self {
        match state {
            InfrastructureState::Ready => Self::Success,
            InfrastructureState::Unreachable => Self::Unreachable,
            InfrastructureState::Building
            | InfrastructureState::Degraded
            | InfrastructureState::Failing
            | InfrastructureState::Held
            | InfrastructureState::Destroying => Self::NotReady,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user's files, with all that is wrong in them.
    Files(Diagnostics),
    /// The engine, at an infrastructure.
    Engine(Box<EngineError>, Option<String>),
    /// A service, which did not do it or could not be asked.
    Service(Box<ServiceError>),
    /// What is left after `destroy`.
    Leftovers(String, Vec<Leftover>),
    /// Machines that no record speaks of, after `destroy`.
    Orphans(String, Vec<Orphan>),
    /// Nodes that could not be deployed, found before anything was touched.
    Nodes(Vec<NodeFailure>),
    /// Anything else.
    Other(Message),
}

/// A failure that needs no more than words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) exit: ExitStatus,
    pub(crate) code: String,
    pub(crate) text: String,
    pub(crate) help: Option<String>,
}

impl Failure {
    /// In words.
    pub(crate) fn new(exit: ExitStatus, code: &str, text: impl fmt::Display) -> Self {
        Self::Other(Message { exit, code: code.to_owned(), text: text.to_string(), help: None })
    }

    /// With a way to mend it.
    pub(crate) fn help(self, help: impl fmt::Display) -> Self {
        match self {
            Self::Other(message) => Self::Other(Message { help: Some(help.to_string()), ..message }),
            other => other,
        }
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> ExitStatus {
        match self {
            Self::Files(_) | Self::Nodes(_) => ExitStatus::Invalid,
            Self::Leftovers(..) | Self::Orphans(..) => ExitStatus::LeftBehind,
            Self::Service(refused) => refused.exit,
            Self::Other(message) => message.exit,
            Self::Engine(error, _) if !error.left().is_empty() => ExitStatus::LeftBehind,
            Self::Engine(error, _) => match **error {
                EngineError::InvalidId { .. } | EngineError::UnknownNode { .. } => ExitStatus::Usage,
                EngineError::Owned { .. } => ExitStatus::Owned,
                EngineError::Invalid { .. } | EngineError::NoPlugin { .. } => ExitStatus::Invalid,
                EngineError::Stopped { .. } => ExitStatus::Interrupted,
                _ => ExitStatus::Failed,
            },
        }
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let (code, message) = match self {
            Self::Files(_) => ("files.invalid", "the files are not usable".to_owned()),
            Self::Engine(error, _) => (error.code(), error.to_string()),
            Self::Nodes(_) => ("files.invalid", "the nodes can't be deployed".to_owned()),
            Self::Leftovers(..) => ("engine.left", "something could not be removed".to_owned()),
            Self::Orphans(..) => ("engine.unrecorded", "machines without a record are left".to_owned()),
            Self::Service(refused) => (refused.code.as_str(), refused.text.clone()),
            Self::Other(message) => (message.code.as_str(), message.text.clone()),
        };
        let mut error = json!({ "code": code, "message": message, "exit": self.exit() as u8 });
        match self {
            Self::Files(problems) => error["problems"] = json!(problems_json(problems)),
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
                error["problems"] = failures
                    .iter()
                    .flat_map(|failure| {
                        source_location::failure_problems(failure, &|place: &source_location::SourceLocation<'_>| {
                            place.read()
                        })
                    })
                    .collect()
            }
            Self::Service(refused) => {
                error["infrastructure"] = json!(refused.infrastructure);
                error["left"] = json!(refused.left);
                error["problems"] = refused.problems.iter().map(FileDiagnostic::to_json).collect();
                error["help"] = json!(refused.help);
            }
            Self::Other(message) => error["help"] = json!(message.help),
        }
        json!({ "error": error })
    }

    /// For people.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Files(problems) => render_problems(problems),
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
            Self::Service(refused) => render_service_error(refused),
            Self::Leftovers(id, left) => render(&SourceDiagnostic {
                code: "engine.left".into(),
                message: format!("{} could not be removed", count_instances(left.len())),
                help: Some(leftovers_help(id, left)),
                ..SourceDiagnostic::default()
            }),
            Self::Orphans(id, machines) => render(&SourceDiagnostic {
                code: "engine.unrecorded".into(),
                message: format!(
                    "{id} is destroyed, and its clouds list {} with its label that this store has no record of",
                    if machines.len() == 1 { "1 machine".to_owned() } else { format!("{} machines", machines.len()) },
                ),
                help: Some(orphans_help(id, machines)),
                ..SourceDiagnostic::default()
            }),
            Self::Other(message) => render(&SourceDiagnostic {
                code: message.code.clone(),
                message: message.text.clone(),
                help: message.help.clone(),
                ..SourceDiagnostic::default()
            }),
        }
    }
}

/// All that a service finds wrong, each where the user wrote it; otherwise the refusal itself.
fn render_service_error(refused: &ServiceError) -> String {
    let help = match &refused.infrastructure {
        Some(id) if !refused.left.is_empty() => Some(leftovers_help(id, &refused.left)),
        _ => refused.help.clone(),
    };
    let (code, message) = (refused.code.clone(), refused.text.clone());
    match refused.problems.split_last() {
        None => render(&SourceDiagnostic { code, message, help, ..SourceDiagnostic::default() }),
        Some((last, others)) => {
            // What to do now comes at the end.
            let help: Vec<_> = last.help.iter().chain(&help).map(String::as_str).collect();
            let last = FileDiagnostic { help: (!help.is_empty()).then(|| help.join("\n")), ..last.clone() };
            render_diagnostics(others) + &render_diagnostics(&[last])
        }
    }
}

/// What a service says of files, each with its excerpt.
pub(crate) fn render_diagnostics(problems: &[FileDiagnostic]) -> String {
    let one = |told: &FileDiagnostic| {
        let is_warning = told.severity == "warning";
        let (code, message, help) = (told.code.clone(), told.message.clone(), told.help.clone());
        let mut shown = SourceDiagnostic { code, message, help, is_warning, ..SourceDiagnostic::default() };
        shown.add_label(told.location().as_deref(), template_line(&told.message).unwrap_or("here").to_owned());
        render(&shown)
    };
    problems.iter().map(one).collect()
}

/// From where a message names the line of a template that it is about: `line 2: ...`.
fn template_line(message: &str) -> Option<&str> {
    let names_line = |at: &usize| {
        let number = message[at + "line ".len()..].split(": ").next().unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    message.match_indices("line ").map(|(at, _)| at).find(names_line).map(|at| &message[at..])
}

/// Problems for programs.
pub(crate) fn problems_json(problems: &Diagnostics) -> Vec<Value> {
    problems.iter().map(occopus_model::Diagnostic::to_json).collect()
}

/// All problems, each with its excerpt, and their number.
pub(crate) fn render_problems(problems: &Diagnostics) -> String {
    let mut text = String::new();
    for problem in problems.iter() {
        text += &render(problem);
    }
    text
}

impl From<Diagnostics> for Failure {
    fn from(problems: Diagnostics) -> Self {
        Self::Files(problems)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error), None)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(ExitStatus::Invalid, "config.invalid", error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(source) => EngineError::from(source).into(),
            OpenError::Files(problems) => problems.into(),
            OpenError::Conformance(ConformanceError::Fixture(error)) => {
                Self::new(ExitStatus::Invalid, "fixture.invalid", error)
                    .help("docs/writing-plugins.md has the keys of a fixture")
            }
            other => Self::new(ExitStatus::Failed, "start.failed", other),
        }
    }
}

/// What happened, where, why, and how to mend it.
fn engine_diagnostic(error: &EngineError, id: Option<&str>) -> SourceDiagnostic {
    let mut shown =
        SourceDiagnostic { code: error.code().to_owned(), message: error.to_string(), ..SourceDiagnostic::default() };
    let mut help = Vec::new();
    match error {
        EngineError::UnknownInfrastructure { .. } => help.push("`occopus status` lists all infrastructures".to_owned()),
        EngineError::Owned { .. } => {
            help.push("wait for it to end; when it maintains the infrastructure, `occopus detach` lets it stop; one that died frees it after a few seconds".to_owned());
        }
        EngineError::NoPlugin { location, .. } => {
            shown.add_label(location.as_deref(), "here".to_owned());
            help.push("`occopus plugin list` shows what there is".to_owned());
        }
        EngineError::Node { failure, rolled_back, left } => {
            shown.label_failure(failure, &mut help);
            SourceDiagnostic::quote_output(failure, &mut help);
            match id {
                _ if *rolled_back && left.is_empty() => {
                    let text =
                        "everything that this run made was removed; `--on-failure keep` leaves it, to be looked at";
                    help.push(text.to_owned());
                }
                Some(id) if left.is_empty() => help.push(format!(
                    "what was made is kept. Look at it: occopus status -i {id}; remove it: occopus destroy -i {id}"
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
        "\nto remove it: occopus destroy -i {id}\nto forget what can't be removed: occopus destroy -i {id} --forget INSTANCE"
    )
}

fn orphans_help(id: &str, machines: &[Orphan]) -> String {
    let line = |machine: &Orphan| format!("\n  {} on {} [{}]", machine.instance, machine.driver, machine.handle);
    let lines: String = machines.iter().map(line).collect();
    format!(
        "still there:{lines}\nthey may belong to another store with the same id. To remove them: occopus destroy -i {id} --orphans FILE"
    )
}

fn count_instances(number: usize) -> String {
    if number == 1 { "1 instance".to_owned() } else { format!("{number} instances") }
}

/// An error with lines of files that the user wrote.
#[derive(Debug, Default)]
struct SourceDiagnostic {
    code: String,
    is_warning: bool,
    message: String,
    help: Option<String>,
    source: Option<NamedText>,
    file: String,
    labels: Vec<LabeledSpan>,
    /// What points into other files than the first.
    elsewhere: Vec<String>,
}

impl SourceDiagnostic {
    /// Shows the lines that a failure is about.
    fn label_failure(&mut self, failure: &NodeFailure, help: &mut Vec<String>) {
        for detail in &failure.details {
            // The first of what a driver refuses is the message itself.
            let is_said = self.message.ends_with(&detail.message);
            self.add_label(
                detail.location.as_deref(),
                if is_said { "here".to_owned() } else { detail.message.clone() },
            );
            if detail.location.is_none() && !is_said {
                help.push(detail.message.clone());
            }
        }
        if self.labels.is_empty() && self.elsewhere.is_empty() {
            self.add_label(failure.location(), "defined here".to_owned());
        }
    }

    /// Shows what the machine of a failed node wrote last.
    fn quote_output(failure: &NodeFailure, help: &mut Vec<String>) {
        if let Some(output) = &failure.output {
            help.push(format!("the last lines of its output:\n{}", super::report::quote_output(output)));
        }
    }

    /// Shows the line at `FILE:LINE:COLUMN`.
    fn add_label(&mut self, location: Option<&str>, message: String) {
        let Some(place) = location.and_then(source_location::SourceLocation::parse) else { return };
        if self.source.is_none() {
            self.source = place.read().map(|text| NamedText::new(place.file, text));
            place.file.clone_into(&mut self.file);
        }
        let text = self.source.as_ref().map(NamedText::text).unwrap_or_default();
        let (offset, message) = source_location::locate(&place, text, &message);
        match offset {
            Some(offset) if place.file == self.file => {
                self.labels.push(LabeledSpan::new(Some(message), offset.start, offset.len()));
            }
            // The file has changed or is another one: the place must do.
            _ => self.elsewhere.push(format!("{}:{}:{}: {message}", place.file, place.line, place.column)),
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

/// A diagnostic as it is printed on standard error.
fn render(diagnostic: &dyn Diagnostic) -> String {
    let styles = if super::print::colours_on_stderr() { ThemeStyles::ansi() } else { ThemeStyles::none() };
    let theme = GraphicalTheme { characters: ThemeCharacters::unicode(), styles };
    let mut handler = GraphicalReportHandler::new_themed(theme).with_links(false).without_cause_chain();
    // Lines in files and pipes are searched, not read on a screen of some width.
    handler = if io::stderr().is_terminal() { handler.with_width(110) } else { handler.with_wrap_lines(false) };
    let mut text = String::new();
    match handler.render_report(&mut text, diagnostic) {
        Ok(()) => text,
        // Only when a source can't be read; the message is what matters.
        Err(_) => format!("error: {diagnostic}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_an_infrastructure_decides_how_a_command_ends() {
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
            assert_eq!(ExitStatus::of_state(state) as u8, exit, "{state}");
        }
    }
}
