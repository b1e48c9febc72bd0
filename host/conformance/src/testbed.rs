//! The test bed of all kinds of plugins: a runtime with this one plugin, the fixture, and its server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use occopus_engine::ports::{CallContext, Fault};
use occopus_model::{Credential, Secret, SectionKind, Tls};
use occopus_runtime::grants::{Grants, Interface, NetworkTarget, PluginGrants};
use occopus_runtime::{CallLimits, CredentialSource, Description, PluginKind, Runtime, RuntimeConfig};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixture::{Fixture, FixtureError, Ports, merge_patched};
use crate::meter::Meter;
use crate::report::{CheckError, ProgressEvent, Suite, describe_fault};
use crate::server::{ServerProcess, free_port};
use crate::{ConformanceError, Subject};

pub(crate) struct Testbed {
    pub(crate) kind: PluginKind,
    /// Name of the plugin.
    pub(crate) name: String,
    pub(crate) fixture: Fixture,
    /// Valid section of this kind.
    pub(crate) section: Value,
    /// Runtime with the right credentials.
    pub(crate) runtime: Arc<Runtime>,
    /// Runtime with wrong credentials.
    pub(crate) unauthorized_runtime: Option<Arc<Runtime>>,
    pub(crate) meter: Meter,
    /// Id of an infrastructure that does not exist.
    pub(crate) infrastructure: String,
    description: Description,
    text: String,
    ports: Ports,
    subject: Subject,
    _servers: Vec<ServerProcess>,
}

/// A source with one credential for all sections.
struct FixedCredential(Option<Credential>);

impl CredentialSource for FixedCredential {
    fn credential(&self, _: SectionKind, _: &Value) -> Result<Option<Credential>, Fault> {
        Ok(self.0.clone())
    }
}

impl Testbed {
    pub(crate) async fn prepare(subject: &Subject, meter: Meter) -> Result<Self, ConformanceError> {
        let path = &subject.fixture;
        let text =
            std::fs::read_to_string(path).map_err(|source| FixtureError::Unreadable { path: path.clone(), source })?;
        let ports = Ports { server: free_port()?, stranger: free_port()? };
        let fixture = Fixture::parse(&text, ports, path)?;
        let invalid = |message: String| FixtureError::Invalid { path: path.clone(), message };
        // Without grants the plugin can describe itself and the grants that it needs.
        let runtime = runtime(subject, Grants::default(), &BTreeMap::new())?;
        let info = runtime.list().pop();
        let unusable = || runtime.load_errors().pop().unwrap_or_else(|| "it can't be used".to_owned());
        let info = info.ok_or_else(|| ConformanceError::Unusable(unusable()))?;
        let description = &info.description;
        let section = section_of(&fixture, info.kind).map_err(invalid)?;
        check_section(&section, info.kind, description).map_err(invalid)?;
        let grants = || {
            Ok::<_, FixtureError>(Grants::of([(
                description.name.clone(),
                requested_grants(description).map_err(invalid)?,
            )]))
        };
        let wrong = Some(&fixture.wrong_auth_data).filter(|wrong| !wrong.is_empty());
        let unauthorized_runtime = match wrong {
            Some(wrong) => Some(self::runtime(subject, grants()?, wrong)?),
            None => None,
        };
        let runtime = self::runtime(subject, grants()?, &fixture.auth_data)?;
        for runtime in [Some(&runtime), unauthorized_runtime.as_ref()].into_iter().flatten() {
            runtime.preload(&[(info.kind, description.keyword.clone())], |_| {}).await?;
        }
        let servers = start_servers(&fixture, ports, path).await?;
        Ok(Self {
            kind: info.kind,
            name: description.name.clone(),
            description: info.description,
            section,
            fixture,
            runtime,
            unauthorized_runtime,
            meter,
            infrastructure: Uuid::new_v4().to_string(),
            text,
            ports,
            subject: subject.clone(),
            _servers: servers,
        })
    }

    /// Returns the keyword by which a user selects the plugin.
    pub(crate) fn keyword(&self) -> &str {
        &self.description.keyword
    }

    /// Returns the usual time limit of a call.
    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_secs(self.fixture.timeout_seconds)
    }

    pub(crate) fn call(&self, timeout: Duration) -> CallContext {
        let meter = self.meter.clone();
        CallContext {
            infrastructure_id: self.infrastructure.clone(),
            node: "node".to_owned(),
            timeout,
            cancel: CancellationToken::new(),
            progress: Some(Arc::new(move |phase, detail| meter.record(&(phase, detail)))),
            preview: false,
        }
    }

    /// Returns the valid section with another `{port}`.
    pub(crate) fn section_at(&self, port: u16) -> Result<Value, CheckError> {
        let ports = Ports { server: port, ..self.ports };
        let fixture = Fixture::parse(&self.text, ports, &self.subject.fixture).map_err(|error| error.to_string())?;
        Ok(section_of(&fixture, self.kind)?)
    }

    /// Sets the current step of a check, for progress reports.
    pub(crate) fn set_step(&self, step: &str) {
        self.meter.set_step(step);
    }

    /// Returns the runtime with wrong credentials. Skips the check if there is none.
    pub(crate) fn unauthorized_runtime(&self) -> Result<&Runtime, CheckError> {
        match (&self.unauthorized_runtime, &self.description.credentials_schema) {
            (Some(runtime), _) => Ok(runtime),
            (None, None) => Err(CheckError::Skipped("it takes no credentials".to_owned())),
            (None, Some(_)) => Err(CheckError::Skipped("the fixture has no `wrong_auth_data`".to_owned())),
        }
    }

    /// Checks that every section of `refused` is refused as the fixture expects.
    pub(crate) async fn check_refusals<T>(
        &self,
        suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>,
        call: impl AsyncFn(Value) -> Result<T, Fault>,
    ) {
        suite
            .check("wrong-section", async || {
                let all = &self.fixture.refused;
                if all.is_empty() {
                    return Err(CheckError::Skipped("the fixture has no `refused`".to_owned()));
                }
                for refused in all {
                    let change = &refused.change;
                    let Err(fault) = call(merge_patched(&self.section, change)).await else {
                        return Err(format!("{change} is accepted").into());
                    };
                    let reaction = serde_json::to_value(fault.reaction).unwrap_or_default();
                    let expected = refused.reaction.as_deref().unwrap_or("give-up");
                    if reaction != expected {
                        return Err(
                            format!("{change} must be refused with `{expected}`: {}", describe_fault(&fault)).into()
                        );
                    }
                    let points_there = |at: &String| {
                        let checker = if self.kind == PluginKind::HealthChecker {
                            format!("/{}", self.keyword())
                        } else {
                            String::new()
                        };
                        let pointer = format!("/{}{checker}{at}", key_of(self.kind));
                        fault.details.iter().any(|detail| detail.pointer == pointer)
                    };
                    if let Some(at) = refused.at.as_ref().filter(|at| !points_there(at)) {
                        return Err(
                            format!("{change}: the fault must point at {at}: {}", describe_fault(&fault)).into()
                        );
                    }
                }
                Ok(format!("{} refused", all.len()))
            })
            .await;
    }

    /// Checks that no secret is in what was logged or answered.
    pub(crate) async fn check_leaks(&self, suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>) {
        suite
            .check("secrets", async || {
                let Some(schema) = &self.description.credentials_schema else {
                    return Err(CheckError::Skipped("it takes no credentials".to_owned()));
                };
                let public = occopus_runtime::public_fields(schema);
                let secret = self.fixture.auth_data.iter().filter(|(name, _)| !public.contains(*name));
                let mut searched = 0;
                for (name, value) in secret {
                    if value.len() < 6 {
                        return Err(CheckError::Skipped(format!("`{name}` is too short to search for")));
                    }
                    searched += 1;
                    for form in [value.clone(), BASE64_STANDARD.encode(value)] {
                        if self.meter.contains(&form) {
                            return Err(format!("`{name}` is in a log line, a fault or an answer").into());
                        }
                    }
                }
                Ok(format!("none of {searched} in logs and answers"))
            })
            .await;
    }
}

/// Starts the programs that the fixture names.
async fn start_servers(fixture: &Fixture, ports: Ports, path: &Path) -> Result<Vec<ServerProcess>, FixtureError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let server = fixture.server.as_ref().map(|server| (server.command.as_slice(), ports.server));
    let stranger = fixture.stranger.as_ref().filter(|stranger| !stranger.command.is_empty());
    let stranger = stranger.map(|stranger| (stranger.command.as_slice(), ports.stranger));
    let mut started = Vec::new();
    for (command, port) in server.into_iter().chain(stranger) {
        let server = ServerProcess::start(command, folder, port).await;
        started.push(server.map_err(|message| FixtureError::NoServer { path: path.to_owned(), message })?);
    }
    Ok(started)
}

/// Returns the key of a kind's section in a node definition.
pub(crate) fn key_of(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Driver => "resource",
        PluginKind::HealthChecker => "health_check",
        PluginKind::Contextualiser => "contextualisation",
        PluginKind::ConfigManager => "config_management",
    }
}

fn section_of(fixture: &Fixture, kind: PluginKind) -> Result<Value, String> {
    let section = match kind {
        PluginKind::Driver => &fixture.resource,
        PluginKind::HealthChecker => &fixture.health_check,
        PluginKind::Contextualiser => &fixture.contextualisation,
        PluginKind::ConfigManager => &fixture.config_management,
    };
    section.clone().ok_or_else(|| format!("a {} needs `{}`", kind.name(), key_of(kind)))
}

/// Checks the fixture's section against the plugin's keyword and schema.
fn check_section(section: &Value, kind: PluginKind, description: &Description) -> Result<(), String> {
    let mut section = section.clone();
    if kind != PluginKind::HealthChecker {
        let keyword = section.as_object_mut().and_then(|section| section.remove("type"));
        if keyword.as_ref() != Some(&Value::from(description.keyword.as_str())) {
            return Err(format!("`{}.type` must be {}", key_of(kind), description.keyword));
        }
    }
    let validator = jsonschema::validator_for(&description.section_schema).map_err(|error| error.to_string())?;
    match validator.iter_errors(&section).next() {
        Some(error) => Err(format!("`{}{}`: {error}", key_of(kind), error.instance_path())),
        None => Ok(()),
    }
}

/// Returns the grants that the plugin requests beyond those that each call has.
fn requested_grants(description: &Description) -> Result<PluginGrants, String> {
    let implicit = ["endpoint", "node-address"];
    let network = description.needs_network.iter().filter(|need| !implicit.contains(&need.as_str()));
    let network: Result<Vec<NetworkTarget>, _> = network.map(|need| need.parse()).collect();
    let interfaces: BTreeSet<Interface> = Interface::ALL
        .into_iter()
        .filter(|interface| description.needs_interfaces.iter().any(|need| need == interface.name()))
        .collect();
    Ok(PluginGrants { network: network.map_err(|error| format!("{error}"))?, interfaces, sha256: None })
}

fn runtime(
    subject: &Subject,
    grants: Grants,
    auth_data: &BTreeMap<String, String>,
) -> Result<Arc<Runtime>, ConformanceError> {
    let fields = auth_data.iter().map(|(name, value)| (name.clone(), Secret::new(value.clone())));
    let credential =
        Credential { fields: fields.collect(), tls: Tls::default(), rule: subject.fixture.display().to_string() };
    let config = RuntimeConfig {
        cache_dir: subject.cache_dir.clone(),
        state_dir: state_dir(),
        grants,
        limits: CallLimits::default(),
        allow_commands: false,
    };
    let credential = Some(credential).filter(|credential| !credential.fields.is_empty());
    Ok(Runtime::new(config, vec![subject.plugin.clone()], Arc::new(FixedCredential(credential)))?)
}

/// Returns the directory for the state of processes that a driver starts.
fn state_dir() -> PathBuf {
    std::env::temp_dir().join(format!("occopus-conformance-{}", std::process::id()))
}

impl Drop for Testbed {
    fn drop(&mut self) {
        // The directory exists only if there were processes.
        let _ = std::fs::remove_dir_all(state_dir());
    }
}
