//! Compilation of the user's files for a service.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use occopus::WithPlanned;
use occopus::source_location::SourceLocation;
use occopus_api::FileDiagnostic;
use occopus_engine::EventKind;
use occopus_model::{
    CompileInput, Compiled, Diagnostics, Implementation, Infrastructure, InstanceLimits, Schemas, document,
    document_of_definitions, read_definitions, read_definitions_document,
};

use super::client::ServiceClient;
use super::plugins::ServicePlugins;
use crate::args::DescriptionArgs;
use crate::backend;
use crate::failure::Failure;

/// Name of the sent document in its own diagnostics.
const DOCUMENT_NAME: &str = "description";
/// Absence of limits: the service enforces its own.
const NO_INSTANCE_LIMITS: InstanceLimits = InstanceLimits { per_node: u32::MAX, per_infrastructure: u32::MAX };

/// A description as it is sent to a service.
pub(crate) struct SubmittedDescription {
    /// The compiled files, with their warnings.
    pub(crate) compiled: Compiled,
    /// The sent document, which needs no other file.
    pub(crate) text: String,
    plugins: Arc<ServicePlugins>,
}

impl ServiceClient {
    /// Compiles a description with its node definitions against the plugins and stored definitions of the service; prints
    /// warnings on standard error.
    pub(crate) async fn compile(&self, files: DescriptionArgs) -> Result<SubmittedDescription, Failure> {
        let plugins = Arc::new(ServicePlugins(self.plugins().await?));
        let stored = IndexMap::new();
        let DescriptionArgs { description, nodes: definitions } = files;
        let mut input =
            CompileInput { description, definitions, stored, events: &EventKind::NAMES, instances: NO_INSTANCE_LIMITS };
        let mut compiled = compile(input.clone(), &plugins).await;
        if let Err(errors) = &compiled
            && errors.iter().any(|error| error.code() == "type.unknown")
        {
            input.stored = self.fetch_missing_definitions(errors, &plugins).await?;
            compiled = compile(input, &plugins).await;
        }
        let compiled = compiled?;
        backend::print_warnings(&compiled.warnings);
        // Each value has a line of its own, by which its origin is found again.
        let text = format!("{:#}", document(&compiled.infrastructure));
        Ok(SubmittedDescription { compiled, text, plugins })
    }

    /// Reads files of node definitions against the plugins of the service; returns them as one document.
    pub(crate) async fn read_definitions(&self, files: Vec<PathBuf>) -> Result<String, Failure> {
        let plugins = ServicePlugins(self.plugins().await?);
        let (definitions, warnings) = blocking(move || read_definitions(&files, &WithPlanned(&plugins))).await?;
        backend::print_warnings(&warnings);
        Ok(document_of_definitions(&definitions).to_string())
    }

    /// Returns the service's definitions of the missing types. Other types have their names only, for suggestions.
    async fn fetch_missing_definitions(
        &self,
        errors: &Diagnostics,
        plugins: &ServicePlugins,
    ) -> Result<IndexMap<String, Vec<Implementation>>, Failure> {
        let missing: Vec<_> =
            errors.iter().filter(|error| error.code() == "type.unknown").map(ToString::to_string).collect();
        let mut stored = IndexMap::new();
        for definition in self.definitions().await? {
            let name = format!("`{}`", definition.node_type);
            let mut implementations = Vec::new();
            if missing.iter().any(|message| message.contains(&name)) {
                let text = self.definition(&definition.node_type).await?.to_string();
                let (mut types, _) = read_definitions_document(&definition.node_type, &text, plugins)?;
                implementations = types.swap_remove(&definition.node_type).unwrap_or_default();
            }
            stored.insert(definition.node_type, implementations);
        }
        Ok(stored)
    }
}

async fn compile(input: CompileInput, plugins: &Arc<ServicePlugins>) -> Result<Compiled, Diagnostics> {
    let plugins = Arc::clone(plugins);
    blocking(move || occopus_model::compile(&input, &WithPlanned(&*plugins))).await
}

impl SubmittedDescription {
    /// Returns the compiled infrastructure.
    pub(crate) fn infrastructure(&self) -> &Infrastructure {
        &self.compiled.infrastructure
    }

    /// Replaces the locations in the sent document by those in the user's files.
    pub(crate) fn relocate_failure(&self, failure: Failure) -> Failure {
        let Failure::Service(mut error) = failure else { return failure };
        if !error.problems.is_empty() {
            let origins = self.line_origins();
            error.problems = error.problems.into_iter().map(|diagnostic| relocate(diagnostic, &origins)).collect();
        }
        Failure::Service(error)
    }

    /// Returns the service's warnings that the compilation here has not given, with locations in the user's files.
    pub(crate) fn service_warnings(&self, warnings: Vec<FileDiagnostic>) -> Vec<FileDiagnostic> {
        let known: HashSet<_> = self.compiled.warnings.iter().map(ToString::to_string).collect();
        let origins = self.line_origins();
        let new = warnings.into_iter().filter(|warning| !known.contains(&warning.message));
        new.map(|warning| relocate(warning, &origins)).collect()
    }

    /// Returns the user's location (`FILE:LINE:COLUMN`) of each line of the sent document.
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
                let locations = sent.lines.iter().filter_map(|(pointer, at)| Some((at, written.lines.get(pointer)?)));
                for (at, origin) in locations.chain([(&sent.origin, &written.origin)]) {
                    if let Some(location) = SourceLocation::parse(at) {
                        // An enclosing value comes before its content, and begins on the same line at most.
                        origins.entry(location.line).or_insert_with(|| origin.clone());
                    }
                }
            }
        }
        origins
    }
}

fn relocate(diagnostic: FileDiagnostic, origins: &HashMap<usize, String>) -> FileDiagnostic {
    let location = diagnostic.line.and_then(|line| origins.get(&line)).and_then(|origin| SourceLocation::parse(origin));
    diagnostic.relocated(location.map(|location| (location.file.to_owned(), location.line, location.column)))
}

/// Runs work that reads and checks files, which takes a while, outside of the asynchronous threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Nothing cancels it, so it has panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use occopus_runtime::PluginKind;
    use serde_json::json;

    use crate::plugin::{PluginDetails, PluginNeeds};

    use super::*;
    use crate::service_error::ServiceError;

    fn posted(folder: &std::path::Path) -> SubmittedDescription {
        let plugin = |kind: PluginKind, keyword: &str| PluginDetails {
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
        let plugins = Arc::new(ServicePlugins(vec![
            plugin(PluginKind::Driver, "local"),
            plugin(PluginKind::Contextualiser, "basic"),
        ]));
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
    fn diagnostics_of_a_service_are_located_in_the_users_files() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("nodes")).expect("a folder");
        std::fs::write(folder.path().join("infra.yaml"), "infra_name: a\nuser_id: u\nnodes: [{name: n, type: t}]\n")
            .expect("written");
        let definitions = "# comment\n'node_def:t':\n- resource: {type: local}\n- resource: {type: local}\n  contextualisation:\n    type: basic\n    text: |\n      one\n      two\n";
        std::fs::write(folder.path().join("nodes/node_definitions.yaml"), definitions).expect("written");
        let posted = posted(folder.path());
        let line = posted.text.lines().position(|line| line.contains(r#""text": "one\ntwo\n""#)).expect("sent") + 1;
        let diagnostic = |line| FileDiagnostic {
            code: "template.failed".into(),
            message: "line 2: what is this?".into(),
            file: Some("description".into()),
            line: Some(line),
            column: Some(15),
            ..FileDiagnostic::default()
        };
        let mut error = ServiceError::new("files.invalid", "no");
        error.problems = vec![diagnostic(line), diagnostic(1)];
        let Failure::Service(error) = posted.relocate_failure(error.into()) else {
            panic!("not an error of a service")
        };
        let expected = folder.path().join("nodes/node_definitions.yaml");
        let [found, unknown] = &error.problems[..] else { panic!("two diagnostics") };
        assert_eq!((found.file.as_deref(), found.line, found.column), (expected.to_str(), Some(8), Some(7)));
        assert_eq!((&unknown.file, unknown.line), (&None, None), "the user has not seen the sent text");
        assert_eq!(posted.service_warnings(vec![diagnostic(line)]).len(), 1);
    }
}
