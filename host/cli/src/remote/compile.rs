//! The user's files, compiled here for a service.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use occopus::WithPlanned;
use occopus::source_location::SourceLocation;
use occopus_engine::EventKind;
use occopus_model::{
    CompileInput, Compiled, Diagnostics, Implementation, Infrastructure, InstanceLimits, Schemas, document,
    document_of_definitions, read_definitions, read_definitions_document,
};

use super::client::ServiceClient;
use super::plugins::ServicePlugins;
use super::problem::FileDiagnostic;
use crate::args::DescriptionArgs;
use crate::backend;
use crate::failure::Failure;

/// How the text that is sent is called while it is looked at here.
const DOCUMENT_NAME: &str = "description";
/// The service knows how many it allows.
const NO_INSTANCE_LIMITS: InstanceLimits = InstanceLimits { per_node: u32::MAX, per_infrastructure: u32::MAX };

/// A description, as it is sent.
pub(crate) struct SubmittedDescription {
    /// What the files say, and what is doubtful in them.
    pub(crate) compiled: Compiled,
    /// One document that needs no other file.
    pub(crate) text: String,
    plugins: Arc<ServicePlugins>,
}

impl ServiceClient {
    /// Reads a description with its node definitions, against what the service has; tells the warnings on standard error.
    pub(crate) async fn compile(&self, files: DescriptionArgs) -> Result<SubmittedDescription, Failure> {
        let plugins = Arc::new(ServicePlugins(self.plugins().await?));
        let stored = IndexMap::new();
        let DescriptionArgs { description, nodes: definitions } = files;
        let mut input =
            CompileInput { description, definitions, stored, events: &EventKind::NAMES, instances: NO_INSTANCE_LIMITS };
        let mut compiled = compile(input.clone(), &plugins).await;
        if let Err(problems) = &compiled
            && problems.iter().any(|problem| problem.code() == "type.unknown")
        {
            input.stored = self.fetch_missing_definitions(problems, &plugins).await?;
            compiled = compile(input, &plugins).await;
        }
        let compiled = compiled?;
        backend::print_warnings(&compiled.warnings);
        // A value has a line of its own, by which it is found again.
        let text = format!("{:#}", document(&compiled.infrastructure));
        Ok(SubmittedDescription { compiled, text, plugins })
    }

    /// Reads files of node definitions, against what the service has; gives them as one document.
    pub(crate) async fn read_definitions(&self, files: Vec<PathBuf>) -> Result<String, Failure> {
        let plugins = ServicePlugins(self.plugins().await?);
        let (definitions, warnings) = blocking(move || read_definitions(&files, &WithPlanned(&plugins))).await?;
        backend::print_warnings(&warnings);
        Ok(document_of_definitions(&definitions).to_string())
    }

    /// The definitions that the service keeps of the types that are missing. Of others only the names, to suggest them.
    async fn fetch_missing_definitions(
        &self,
        problems: &Diagnostics,
        plugins: &ServicePlugins,
    ) -> Result<IndexMap<String, Vec<Implementation>>, Failure> {
        let missing: Vec<_> =
            problems.iter().filter(|problem| problem.code() == "type.unknown").map(ToString::to_string).collect();
        let mut stored = IndexMap::new();
        for kept in self.definitions().await? {
            let name = format!("`{}`", kept.node_type);
            let mut implementations = Vec::new();
            if missing.iter().any(|message| message.contains(&name)) {
                let text = self.definition(&kept.node_type).await?.to_string();
                let (mut types, _) = read_definitions_document(&kept.node_type, &text, plugins)?;
                implementations = types.swap_remove(&kept.node_type).unwrap_or_default();
            }
            stored.insert(kept.node_type, implementations);
        }
        Ok(stored)
    }
}

async fn compile(input: CompileInput, plugins: &Arc<ServicePlugins>) -> Result<Compiled, Diagnostics> {
    let plugins = Arc::clone(plugins);
    blocking(move || occopus_model::compile(&input, &WithPlanned(&*plugins))).await
}

impl SubmittedDescription {
    /// The graph.
    pub(crate) fn infrastructure(&self) -> &Infrastructure {
        &self.compiled.infrastructure
    }

    /// With the places in the user's files, where the service could only name those in what was sent.
    pub(crate) fn relocate_failure(&self, failure: Failure) -> Failure {
        let Failure::Service(mut refused) = failure else { return failure };
        if !refused.problems.is_empty() {
            let origins = self.line_origins();
            refused.problems = refused.problems.into_iter().map(|told| relocate(told, &origins)).collect();
        }
        Failure::Service(refused)
    }

    /// What the service finds doubtful and we do not, with places in the user's files.
    pub(crate) fn service_warnings(&self, warnings: Vec<FileDiagnostic>) -> Vec<FileDiagnostic> {
        let known: HashSet<_> = self.compiled.warnings.iter().map(ToString::to_string).collect();
        let origins = self.line_origins();
        let new = warnings.into_iter().filter(|told| !known.contains(&told.message));
        new.map(|told| relocate(told, &origins)).collect()
    }

    /// By the line of what is sent: where the user wrote it.
    fn line_origins(&self) -> HashMap<usize, String> {
        let (none, events) = (IndexMap::new(), &EventKind::NAMES[..]);
        let schemas: &dyn Schemas = &*self.plugins;
        let Ok(sent) =
            occopus_model::compile_document(DOCUMENT_NAME, &self.text, &none, events, NO_INSTANCE_LIMITS, schemas)
        else {
            return HashMap::new();
        };
        let mut origins = HashMap::new();
        let written = &self.infrastructure().definitions;
        for (name, implementations) in &sent.infrastructure.definitions {
            let both = implementations.iter().zip(written.get(name).into_iter().flatten());
            for (sent, written) in both {
                let places = sent.lines.iter().filter_map(|(pointer, at)| Some((at, written.lines.get(pointer)?)));
                for (at, origin) in places.chain([(&sent.origin, &written.origin)]) {
                    if let Some(place) = SourceLocation::parse(at) {
                        // What encloses something comes before it, and begins on the same line at most.
                        origins.entry(place.line).or_insert_with(|| origin.clone());
                    }
                }
            }
        }
        origins
    }
}

fn relocate(told: FileDiagnostic, origins: &HashMap<usize, String>) -> FileDiagnostic {
    let place = told.line.and_then(|line| origins.get(&line)).and_then(|origin| SourceLocation::parse(origin));
    let file = place.map(|place| place.file.to_owned());
    let (line, column) = place.map(|place| (place.line, place.column)).unzip();
    FileDiagnostic { file, line, column, ..told }
}

/// Reading files and checking them takes a while and does not wait for anything.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // It is not cancelled by anybody, so it has panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use occopus_runtime::Kind;
    use serde_json::json;

    use crate::plugin::{PluginDetails, PluginNeeds};

    use super::super::problem::ServiceError;
    use super::*;

    fn posted(folder: &std::path::Path) -> SubmittedDescription {
        let card = |kind: Kind, keyword: &str| PluginDetails {
            kind,
            keyword: keyword.into(),
            name: keyword.into(),
            version: "1".into(),
            summary: String::new(),
            origin: "bundled".into(),
            sha256: String::new(),
            contract: "1".into(),
            needs: PluginNeeds::default(),
            section_schema: Arc::new(json!({})),
            credentials_schema: None,
        };
        let plugins = Arc::new(ServicePlugins(vec![card(Kind::Driver, "local"), card(Kind::Contextualiser, "basic")]));
        let input = CompileInput {
            description: folder.join("infra.yaml"),
            events: &EventKind::NAMES,
            ..CompileInput::default()
        };
        let compiled = occopus_model::compile(&input, &*plugins).expect("compiles");
        let text = format!("{:#}", document(&compiled.infrastructure));
        SubmittedDescription { compiled, text, plugins }
    }

    #[test]
    fn what_a_service_finds_is_shown_where_the_user_wrote_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("nodes")).expect("a folder");
        std::fs::write(folder.path().join("infra.yaml"), "infra_name: a\nuser_id: u\nnodes: [{name: n, type: t}]\n")
            .expect("written");
        let definitions = "# comment\n'node_def:t':\n- resource: {type: local}\n- resource: {type: local}\n  contextualisation:\n    type: basic\n    text: |\n      one\n      two\n";
        std::fs::write(folder.path().join("nodes/node_definitions.yaml"), definitions).expect("written");
        let posted = posted(folder.path());
        let line = posted.text.lines().position(|line| line.contains(r#""text": "one\ntwo\n""#)).expect("sent") + 1;
        let told = |line| FileDiagnostic {
            severity: "error".into(),
            code: "template.failed".into(),
            message: "line 2: what is this?".into(),
            file: Some("description".into()),
            line: Some(line),
            column: Some(15),
            help: None,
        };
        let mut refused = ServiceError::new(crate::failure::ExitStatus::Invalid, "files.invalid", "no");
        refused.problems = vec![told(line), told(1)];
        let Failure::Service(refused) = posted.relocate_failure(refused.into()) else { panic!("a refusal stays one") };
        let wanted = folder.path().join("nodes/node_definitions.yaml");
        let [found, unknown] = &refused.problems[..] else { panic!("two problems") };
        assert_eq!((found.file.as_deref(), found.line, found.column), (wanted.to_str(), Some(8), Some(7)));
        assert_eq!((&unknown.file, unknown.line), (&None, None), "nobody has seen the text that was sent");
        assert_eq!(posted.service_warnings(vec![told(line)]).len(), 1);
    }
}
