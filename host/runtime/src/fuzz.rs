//! Conversions, checks and searches that foreign bytes meet in this crate, for fuzz targets: without a sandbox and a network.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use occopus_engine::ports::{CallContext, Fault, ObservedMachine, Warning};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::bindings::driver::exports::occopus::driver::nodes;
use crate::bindings::imports::occopus::host::log::Level;
use crate::bindings::imports::occopus::types::types as wit;
use crate::call_clock::CallClock;
use crate::convert::{fault_from_wit, observed_from_wit};
use crate::grants::{GrantSubject, Grants};
use crate::host::{Call, CallInput, HostServices};
pub use crate::http::fuzz::{Headers, Leaving, Read};
use crate::http::{BodyMemoryPool, CallBodyMemory, HttpClient, HttpError, fuzz};
use crate::invoke::{deadline, finish_fault};
use crate::limits::CallLimits;
use crate::process::Processes;
use crate::reported_warnings::ReportedWarnings;
use crate::secrets::{AwsRequest, CallSecrets, Encoding};

/// The name of the secret value.
const FIELD: &str = "password";

/// The host's side of one call of a driver, with an endpoint and a credential.
pub struct Host(Arc<Call>);

impl Host {
    /// Makes a call for this endpoint with this secret.
    pub fn new(endpoint: &str, secret: &str) -> Self {
        let section = json!({"type": "cloud", "endpoint": endpoint});
        let endpoints = [endpoint.to_owned()];
        let needs = ["endpoint".to_owned()];
        let subject =
            GrantSubject { plugin: "cloud", needs_network: &needs, endpoints: &endpoints, ..GrantSubject::default() };
        let limits = CallLimits::default();
        let memory = BodyMemoryPool::new(limits.held_body_bytes_of_all);
        Self(Arc::new(Call {
            plugin: "cloud".to_owned(),
            deadline: deadline(Duration::from_secs(60)),
            context: CallContext {
                infrastructure_id: String::new(),
                node: "node".to_owned(),
                timeout: Duration::from_secs(60),
                cancel: CancellationToken::new(),
                progress: None,
                preview: false,
            },
            grants: Grants::default().for_call(&subject),
            secrets: Some(secrets(secret).for_section(&section)),
            token_scope: "cloud".to_owned(),
            input: CallInput::Section(Arc::new(section)),
            body_memory: CallBodyMemory::new(&memory, limits.held_body_bytes),
            clock: CallClock::new(),
            log_bytes_left: AtomicUsize::new(limits.log_bytes),
            refusals: Default::default(),
            possible_effects: AtomicUsize::new(0),
            unreachable: AtomicBool::new(false),
            permanent_code: Default::default(),
            warnings: Default::default(),
            linear_memory_bytes: AtomicUsize::new(0),
            services: Arc::new(HostServices {
                http: HttpClient::new(),
                processes: Processes::new("", ""),
                tokens: crate::token_cache::TokenCache::default(),
                body_memory: memory,
                limits,
                allow_commands: false,
                reported_warnings: ReportedWarnings::default(),
            }),
        }))
    }

    /// Converts a machine as a driver gives it.
    ///
    /// # Errors
    /// Fails if the machine cannot be kept.
    pub fn machine(
        &self,
        handle: (u32, String),
        phase: u8,
        addresses: Vec<(String, bool)>,
        attributes: Vec<(String, String)>,
        message: Option<String>,
    ) -> Result<ObservedMachine, Fault> {
        let phase = match phase % 6 {
            0 => nodes::Phase::Pending,
            1 => nodes::Phase::Running,
            2 => nodes::Phase::Stopped,
            3 => nodes::Phase::Failed,
            4 => nodes::Phase::Gone,
            _ => nodes::Phase::Unknown,
        };
        let address = |(value, internal)| wit::Address { value, internal };
        let addresses = addresses.into_iter().map(address).collect();
        let (version, data) = handle;
        observed_from_wit(
            &self.0,
            nodes::Observed { handle: nodes::Handle { version, data }, phase, addresses, attributes, message },
        )
    }

    /// Converts a fault as a plugin gives it.
    pub fn fault(
        &self,
        code: String,
        message: String,
        retry_after_ms: Option<u64>,
        details: Vec<(String, String)>,
    ) -> Fault {
        let detail = |(pointer, message)| wit::Detail { pointer, message };
        let details = details.into_iter().map(detail).collect();
        let fault = wit::Fault { reaction: wit::Reaction::UnknownOutcome, code, message, retry_after_ms, details };
        finish_fault(&self.0, fault_from_wit(fault, "/resource"))
    }

    /// Logs a line, and records it as a warning.
    pub fn log(&self, line: &str) -> Vec<Warning> {
        self.0.log(Level::Info, line);
        self.0.record_refusal(line);
        let text = self.0.redact(line);
        self.0.record_warning(Warning { code: text.clone(), message: text.clone(), pointer: text });
        self.0.warnings.lock().map(|warnings| warnings.clone()).unwrap_or_default()
    }

    /// Returns the URL of an endpoint.
    ///
    /// # Errors
    /// Fails if it is not an endpoint, or is not granted.
    pub fn url_for(&self, endpoint: &str) -> Result<String, Fault> {
        self.0.grants.url_for(endpoint)
    }

    /// A placeholder for the secret.
    pub fn placeholder(&self) -> String {
        let secrets = self.0.secrets.as_ref();
        secrets.and_then(|secrets| secrets.placeholder(FIELD, Encoding::Percent)).unwrap_or_default()
    }

    /// Keeps a token, and gives it back.
    pub fn token(&self, key: &str, value: Vec<u8>, lifetime_ms: u64) -> Option<Vec<u8>> {
        let (tokens, scope) = (&self.0.services.tokens, &self.0.token_scope);
        tokens.put(scope, key, value, Duration::from_millis(lifetime_ms));
        tokens.get(scope, key)
    }

    /// Prepares a request as it would leave.
    ///
    /// # Errors
    /// Fails if the request may not leave.
    pub fn request(&self, method: &str, url: &str, headers: &Headers, body: Vec<u8>) -> Result<Leaving, HttpError> {
        let request = fuzz::request(method, url, headers, body)?;
        fuzz::leaving(request, &self.0.grants, self.0.secrets.as_ref(), &self.0.body_memory)
    }

    /// Signs a request for AWS: its method, URL, region and service, its headers, and the digest of its body.
    ///
    /// # Errors
    /// Fails if the request is not signed.
    pub fn sign(
        &self,
        [method, url, region, service]: [String; 4],
        headers: Vec<(String, String)>,
        payload: Vec<u8>,
    ) -> Result<(), String> {
        let request = AwsRequest { method, url, headers, payload, region, service };
        let url = request.url.parse().map_err(|error| format!("{error}"))?;
        let host = crate::http::host_for_secrets(&url, &self.0.grants).map_err(|error| error.to_string())?;
        let secrets = self.0.secrets.as_ref().ok_or("no secret")?;
        secrets.aws_sign(FIELD, &request, &host, jiff::Timestamp::UNIX_EPOCH).map(drop)
    }
}

/// Reads a response to a call with this secret, which comes in these pieces, as its guest does.
///
/// # Errors
/// Fails if the guest may not read it.
pub fn read(secret: &str, headers: &Headers, pieces: Vec<Vec<u8>>, trailers: &Headers) -> Result<Read, HttpError> {
    fuzz::read(&secrets(secret), headers, pieces, trailers)
}

/// Returns a text of a plugin with this secret as it may be kept: all of it, its beginning, and its end.
pub fn redacted(secret: &str, text: &str, most: usize) -> [String; 3] {
    let secrets = secrets(secret);
    [secrets.redact(text), secrets.redact_prefix(text, most), secrets.redact_suffix(text, most)]
}

/// Returns whether answers to a call with this secret are searched for it.
pub fn is_searched_for(secret: &str) -> bool {
    secrets(secret).answer_patterns().is_some()
}

/// Builds and checks the description of a plugin: name, version, keyword, summary, the schemas of its section and of its credentials, and
/// its needs.
///
/// # Errors
/// Fails if the plugin cannot be used.
pub fn describe(
    words: [String; 4],
    section: &str,
    credentials: &str,
    network: Vec<String>,
    interfaces: Vec<String>,
) -> Result<(), String> {
    let description = crate::describe::description(words, section, credentials, network, interfaces)?;
    crate::description_check::first_violation(&description).map_or(Ok(()), Err)?;
    crate::secrets::public_fields(description.credentials_schema.as_deref().unwrap_or(&Value::Null));
    Ok(())
}

/// Parses a line of grants.
pub fn target(line: &str) -> Option<String> {
    line.parse::<crate::grants::NetworkTarget>().ok().map(|target| target.to_string())
}

fn secrets(secret: &str) -> CallSecrets {
    let value = |name: &str, value: &str| (name.to_owned(), Zeroizing::new(value.to_owned()));
    CallSecrets::new([value(FIELD, secret), value("user", "demo")], BTreeSet::from(["user".to_owned()]))
}
