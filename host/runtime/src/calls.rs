//! Calls of plugins: their credential, their grants, their preparation and their execution. Which plugins there are is not
//! known here.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use occopus_engine::ports::{CallContext, Fault, Reaction};
use occopus_model::{Credential, SectionKind};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::call_clock::CallClock;
use crate::credential_source::CredentialSource;
use crate::error::RuntimeError;
use crate::grants::{CallGrants, GrantSubject, Grants};
use crate::host::{Call, CallInput, HostServices};
use crate::http::{CallBodyMemory, TlsIdentity};
use crate::invoke::{SideEffects, deadline, invoke};
use crate::kind::PluginKind;
use crate::plugin::{Description, Plugin};
use crate::secrets::{CallSecrets, public_fields};
use crate::sections::credential_selector;
use crate::wasm::LazyEngine;

/// The part of the runtime that all calls share.
pub(crate) struct RuntimeCore {
    pub(crate) wasm: Arc<LazyEngine>,
    pub(crate) cache_dir: PathBuf,
    pub(crate) grants: Grants,
    pub(crate) services: Arc<HostServices>,
    pub(crate) call_permits: Semaphore,
    pub(crate) credentials: Arc<dyn CredentialSource>,
}

/// Credential of a call, and the scope of its cached tokens.
pub(crate) struct CallCredentials {
    secrets: Option<CallSecrets>,
    token_scope: String,
}

/// Credential and certificates for a call.
#[derive(Default)]
pub(crate) struct ResolvedCredentials {
    /// Secrets that the plugin may use.
    secrets: Option<CallSecrets>,
    /// Certificates for the host's connections.
    identity: Option<TlsIdentity>,
    /// Text that distinguishes the credential from others, also from earlier ones of the same rule.
    scope: String,
}

impl CallCredentials {
    /// Returns the credential for calls of this plugin. Plugins that only share a name share no tokens.
    pub(crate) fn of(plugin: &Plugin, resolved: ResolvedCredentials) -> Self {
        Self { token_scope: format!("{}\n{}", plugin.identity(), resolved.scope), secrets: resolved.secrets }
    }

    /// Returns the credential for calls of the plugin with this identity that reach nothing.
    pub(crate) fn offline(identity: &str) -> Self {
        Self { secrets: None, token_scope: format!("offline\n{identity}") }
    }
}

impl RuntimeCore {
    pub(crate) fn new_call(
        &self,
        plugin: &str,
        grants: CallGrants,
        credentials: CallCredentials,
        input: CallInput,
        context: CallContext,
    ) -> Call {
        Call {
            plugin: plugin.to_owned(),
            deadline: deadline(context.timeout),
            context,
            grants,
            secrets: credentials.secrets,
            token_scope: credentials.token_scope,
            input,
            services: Arc::clone(&self.services),
            body_memory: CallBodyMemory::new(&self.services.body_memory, self.services.limits.held_body_bytes),
            clock: CallClock::new(),
            log_bytes_left: AtomicUsize::new(self.services.limits.log_bytes),
            refusals: Mutex::default(),
            possible_effects: AtomicUsize::new(0),
            unreachable: AtomicBool::new(false),
            permanent_code: Mutex::default(),
            warnings: Mutex::default(),
            linear_memory_bytes: AtomicUsize::new(0),
        }
    }

    /// Compiles a plugin that is to be called, if it is not compiled yet. Ends early when the call is cancelled; the
    /// compilation goes on for the next one.
    async fn compile(&self, plugin: &Plugin, context: &CallContext) -> Result<(), Fault> {
        if plugin.binary.is_compiled() {
            return Ok(());
        }
        match context.cancel.run_until_cancelled(plugin.binary.compiled(&self.wasm)).await {
            Some(compiled) => compiled.map(|_| ()).map_err(|error| unusable_plugin(&error)),
            None => {
                let message = format!("the call of the plugin `{}` was cancelled", plugin.description.name);
                Err(Fault::new(Reaction::Retry, "occopus.cancelled", message))
            }
        }
    }

    /// Prepares a call of a plugin, with the grants and the credential of the section at hand. The time of the call begins
    /// when the plugin is compiled.
    pub(crate) async fn prepare(
        &self,
        plugin: &Plugin,
        input: CallInput,
        context: &CallContext,
    ) -> Result<Arc<Call>, Fault> {
        self.compile(plugin, context).await?;
        let description = &plugin.description;
        let endpoint: Vec<String> =
            input.section().get("endpoint").and_then(Value::as_str).map(str::to_owned).into_iter().collect();
        let nodes: Vec<String> = match &input {
            CallInput::Health(target) => target.addresses.iter().map(|address| address.value.clone()).collect(),
            _ => Vec::new(),
        };
        let identity = plugin.identity();
        let grants = self.grants.for_call(&GrantSubject {
            plugin_identity: &identity,
            endpoints: if plugin.binary.kind == PluginKind::Contextualiser { &[] } else { &endpoint },
            node_addresses: &nodes,
            ..plugin.grant_subject()
        });
        let mut resolved = match plugin.binary.kind {
            PluginKind::Driver => self.resolve_credentials(input.section(), description)?,
            _ => ResolvedCredentials::default(),
        };
        let grants = grants.with_tls_identity(resolved.identity.take());
        Ok(Arc::new(self.new_call(
            &description.name,
            grants,
            CallCredentials::of(plugin, resolved),
            input,
            context.clone(),
        )))
    }

    /// Prepares a call of a plugin that can reach nothing: no network, no credential, no host interface beyond `log`
    /// and `call`.
    pub(crate) async fn prepare_offline(
        &self,
        plugin: &Plugin,
        input: CallInput,
        context: &CallContext,
    ) -> Result<Arc<Call>, Fault> {
        self.compile(plugin, context).await?;
        let (grants, credentials) =
            (CallGrants::offline(&plugin.grant_subject()), CallCredentials::offline(&plugin.identity()));
        Ok(Arc::new(self.new_call(&plugin.description.name, grants, credentials, input, context.clone())))
    }

    /// Returns the credential of a driver's section, chosen by what the user wrote: secrets for the plugin, and
    /// certificates for connections.
    fn resolve_credentials(&self, section: &Value, description: &Description) -> Result<ResolvedCredentials, Fault> {
        let selector = credential_selector(section, &description.section_schema);
        // Also for a plugin that needs none: there may be certificates among them.
        let Some(credential) = self.credentials.credential(SectionKind::Resource, &selector)? else {
            return Ok(ResolvedCredentials::default());
        };
        let identity = TlsIdentity::from_tls(&credential.tls);
        // What was obtained with earlier credentials is not for later ones.
        let scope = format!("{}\n{}", credential.rule, fingerprint(&credential, identity.as_ref()));
        let Some(schema) = &description.credentials_schema else {
            return Ok(ResolvedCredentials { secrets: None, identity, scope });
        };
        let values = credential
            .fields
            .iter()
            .map(|(name, secret)| (name.clone(), zeroize::Zeroizing::new(secret.expose().to_owned())));
        let secrets = CallSecrets::new(values, public_fields(schema)).for_section(section);
        Ok(ResolvedCredentials { secrets: Some(secrets), identity, scope })
    }

    /// Runs a prepared call of this function.
    #[tracing::instrument(
        name = "plugin call",
        level = "debug",
        skip_all,
        fields(plugin = %call.plugin, function = function, node = %call.context.node)
    )]
    pub(crate) async fn run<T>(
        &self,
        plugin: &Plugin,
        function: &'static str,
        call: Arc<Call>,
        effects: SideEffects,
        work: impl AsyncFnOnce(
            &wasmtime::component::InstancePre<crate::host::HostState>,
            &mut wasmtime::Store<crate::host::HostState>,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let instance = plugin.binary.compiled(&self.wasm).await.map_err(|error| unusable_plugin(&error))?;
        let (name, began) = (call.plugin.clone(), std::time::Instant::now());
        let outcome =
            invoke(instance, &self.call_permits, Arc::clone(&call), effects, async |store| work(instance, store).await)
                .await;
        tracing::debug!(
            target: "occopus::metrics",
            plugin = %name,
            function,
            answered = outcome.is_ok(),
            monotonic_counter.occopus_plugin_calls = 1_u64,
            histogram.occopus_plugin_call_seconds = began.elapsed().as_secs_f64(),
            histogram.occopus_plugin_call_memory_bytes = call.linear_memory_bytes.load(Ordering::Relaxed) as u64,
        );
        outcome
    }
}

/// Returns a digest that distinguishes the values of a credential from others. It is kept in memory only.
fn fingerprint(credential: &Credential, identity: Option<&TlsIdentity>) -> String {
    let mut hash = Sha256::new();
    if let Some(identity) = identity {
        hash.update(identity.digest());
    }
    for (name, value) in &credential.fields {
        for part in [name.as_str(), value.expose()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unusable_plugin(error: &RuntimeError) -> Fault {
    Fault::new(Reaction::GiveUp, "occopus.plugin-unusable", error.to_string())
}
