//! What all kinds of plugins are tested on: a runtime with this one plugin, the fixture, and its server.

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
    /// The plugin's.
    pub(crate) name: String,
    pub(crate) fixture: Fixture,
    /// Of this kind, with which it works.
    pub(crate) section: Value,
    /// With the credentials that are right.
    pub(crate) runtime: Arc<Runtime>,
    /// With those that are wrong.
    pub(crate) unauthorized_runtime: Option<Arc<Runtime>>,
    pub(crate) meter: Meter,
    /// Id of the infrastructure that never was.
    pub(crate) infrastructure: String,
    description: Description,
    text: String,
    ports: Ports,
    subject: Subject,
    _servers: Vec<ServerProcess>,
}

/// One credential for everything.
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
        // Without grants it can be asked what it is, and what it needs.
        let runtime = runtime(subject, Grants::default(), &BTreeMap::new())?;
        let info = runtime.list().pop();
        let unusable = || runtime.load_errors().pop().unwrap_or_else(|| "it can't be used".to_owned());
        let info = info.ok_or_else(|| ConformanceError::Unusable(unusable()))?;
        let it = &info.description;
        let section = section_of(&fixture, info.kind).map_err(invalid)?;
        check_section(&section, info.kind, it).map_err(invalid)?;
        let grants = || Ok::<_, FixtureError>(Grants::of([(it.name.clone(), requested_grants(it).map_err(invalid)?)]));
        let wrong = Some(&fixture.wrong_auth_data).filter(|wrong| !wrong.is_empty());
        let stranger = match wrong {
            Some(wrong) => Some(self::runtime(subject, grants()?, wrong)?),
            None => None,
        };
        let runtime = self::runtime(subject, grants()?, &fixture.auth_data)?;
        for runtime in [Some(&runtime), stranger.as_ref()].into_iter().flatten() {
            runtime.preload(&[(info.kind, it.keyword.clone())], &|_| {})?;
        }
        let servers = start_servers(&fixture, ports, path).await?;
        Ok(Self {
            kind: info.kind,
            name: it.name.clone(),
            description: info.description,
            section,
            fixture,
            runtime,
            unauthorized_runtime: stranger,
            meter,
            infrastructure: Uuid::new_v4().to_string(),
            text,
            ports,
            subject: subject.clone(),
            _servers: servers,
        })
    }

    /// What the user writes to choose it.
    pub(crate) fn keyword(&self) -> &str {
        &self.description.keyword
    }

    /// How long a call may usually take.
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

    /// The section that works, if `{port}` were this one.
    pub(crate) fn section_at(&self, port: u16) -> Result<Value, CheckError> {
        let ports = Ports { server: port, ..self.ports };
        let fixture = Fixture::parse(&self.text, ports, &self.subject.fixture).map_err(|error| error.to_string())?;
        Ok(section_of(&fixture, self.kind)?)
    }

    /// Says where a check is, for those who wait for it.
    pub(crate) fn set_step(&self, place: &str) {
        self.meter.set_step(place);
    }

    /// Whoever has wrong credentials must be told so.
    pub(crate) fn unauthorized_runtime(&self) -> Result<&Runtime, CheckError> {
        match (&self.unauthorized_runtime, &self.description.credentials_schema) {
            (Some(stranger), _) => Ok(stranger),
            (None, None) => Err(CheckError::Skipped("it takes no credentials".to_owned())),
            (None, Some(_)) => Err(CheckError::Skipped("the fixture has no `wrong_auth_data`".to_owned())),
        }
    }

    /// Every section that must be refused is.
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
                        return Err(format!("{change} is taken").into());
                    };
                    let reaction = serde_json::to_value(fault.reaction).unwrap_or_default();
                    let wanted = refused.reaction.as_deref().unwrap_or("give-up");
                    if reaction != wanted {
                        return Err(
                            format!("{change} must be refused with `{wanted}`: {}", describe_fault(&fault)).into()
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

    /// Nothing that was logged or answered may have a secret in it.
    pub(crate) async fn check_leaks(&self, suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>) {
        suite
            .check("secrets", async || {
                let Some(schema) = &self.description.credentials_schema else {
                    return Err(CheckError::Skipped("it takes no credentials".to_owned()));
                };
                let public = occopus_runtime::secrets::public_fields(schema);
                let secret = self.fixture.auth_data.iter().filter(|(name, _)| !public.contains(*name));
                let mut looked_for = 0;
                for (name, value) in secret {
                    if value.len() < 6 {
                        return Err(CheckError::Skipped(format!("`{name}` is too short to be looked for")));
                    }
                    looked_for += 1;
                    for form in [value.clone(), BASE64_STANDARD.encode(value)] {
                        if self.meter.contains(&form) {
                            return Err(format!("`{name}` is in a log line, a fault or an answer").into());
                        }
                    }
                }
                Ok(format!("none of {looked_for} in what was logged and answered"))
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

/// The key of a kind's section in a node definition.
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

/// The fixture's section must be one that the plugin takes.
fn check_section(section: &Value, kind: PluginKind, it: &Description) -> Result<(), String> {
    let mut section = section.clone();
    if kind != PluginKind::HealthChecker {
        let keyword = section.as_object_mut().and_then(|section| section.remove("type"));
        if keyword.as_ref() != Some(&Value::from(it.keyword.as_str())) {
            return Err(format!("`{}.type` must be {}", key_of(kind), it.keyword));
        }
    }
    let validator = jsonschema::validator_for(&it.section_schema).map_err(|error| error.to_string())?;
    match validator.iter_errors(&section).next() {
        Some(error) => Err(format!("`{}{}`: {error}", key_of(kind), error.instance_path())),
        None => Ok(()),
    }
}

/// Everything that it asks for beyond what each call gives.
fn requested_grants(it: &Description) -> Result<PluginGrants, String> {
    let usual = ["endpoint", "node-address"];
    let network = it.needs_network.iter().filter(|need| !usual.contains(&need.as_str()));
    let network: Result<Vec<NetworkTarget>, _> = network.map(|need| need.parse()).collect();
    let interfaces: BTreeSet<Interface> = Interface::ALL
        .into_iter()
        .filter(|interface| it.needs_interfaces.iter().any(|need| need == interface.name()))
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

/// For processes that a driver starts.
fn state_dir() -> PathBuf {
    std::env::temp_dir().join(format!("occopus-conformance-{}", std::process::id()))
}

impl Drop for Testbed {
    fn drop(&mut self) {
        // It is there only if there were processes.
        let _ = std::fs::remove_dir_all(state_dir());
    }
}
