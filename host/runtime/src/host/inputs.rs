//! Inputs of plugin calls, as resources of the guest.

use occopus_engine::ports::{CreateRequest, Fault, HealthTarget, Reaction};
use serde_json::{Map, Value};
use wasmtime::component::Resource;
use wasmtime::{Result, format_err};

use super::{
    CallInput, ConfigScopeHandle, ContextHandle, ContextRequestHandle, CredentialHandle, FactsHandle,
    HealthTargetHandle, HostState, NodeRequestHandle, RegistrationHandle, ScopeHandle,
};
use crate::bindings::imports::occopus::config::inputs as config;
use crate::bindings::imports::occopus::context::inputs as context;
use crate::bindings::imports::occopus::driver::inputs as driver;
use crate::bindings::imports::occopus::health::inputs as health;
use crate::bindings::imports::occopus::types::types as wit;
use crate::commands;
use crate::convert::{address_to_wit, fault_to_wit};

impl HostState {
    fn credential(&mut self) -> Result<Option<Resource<CredentialHandle>>> {
        if self.call.secrets.is_some() { Ok(Some(self.push(CredentialHandle)?)) } else { Ok(None) }
    }

    fn section(&self) -> String {
        self.call.input.section().to_string()
    }

    fn node(&self) -> Result<&CreateRequest> {
        match &self.call.input {
            CallInput::Node(request) => Ok(request),
            _ => Err(format_err!("this call has no node")),
        }
    }

    fn target(&self) -> Result<&HealthTarget> {
        match &self.call.input {
            CallInput::Health(target) => Ok(target),
            _ => Err(format_err!("this call is not a health check")),
        }
    }

    fn rendering(&self) -> Result<&occopus_engine::ports::ContextRequest> {
        match &self.call.input {
            CallInput::Context(request) => Ok(request),
            _ => Err(format_err!("this call is not a rendering")),
        }
    }
}

impl driver::Host for HostState {}

impl driver::HostScope for HostState {
    async fn context(&mut self, _scope: Resource<ScopeHandle>) -> Result<Resource<ContextHandle>> {
        self.push(ContextHandle)
    }

    async fn section(&mut self, _scope: Resource<ScopeHandle>) -> Result<String> {
        Ok(HostState::section(self))
    }

    async fn credential(&mut self, _scope: Resource<ScopeHandle>) -> Result<Option<Resource<CredentialHandle>>> {
        HostState::credential(self)
    }

    async fn drop(&mut self, scope: Resource<ScopeHandle>) -> Result<()> {
        self.table.delete(scope)?;
        Ok(())
    }
}

impl driver::HostNodeRequest for HostState {
    async fn scope(&mut self, _request: Resource<NodeRequestHandle>) -> Result<Resource<ScopeHandle>> {
        self.push(ScopeHandle)
    }

    async fn instance_id(&mut self, _request: Resource<NodeRequestHandle>) -> Result<String> {
        Ok(self.node()?.instance_id.clone())
    }

    async fn node_name(&mut self, _request: Resource<NodeRequestHandle>) -> Result<String> {
        Ok(self.node()?.node_name.clone())
    }

    async fn infrastructure_id(&mut self, _request: Resource<NodeRequestHandle>) -> Result<String> {
        Ok(self.node()?.infrastructure_id.clone())
    }

    async fn infrastructure_name(&mut self, _request: Resource<NodeRequestHandle>) -> Result<String> {
        Ok(self.node()?.infrastructure_name.clone())
    }

    async fn machine_name(&mut self, _request: Resource<NodeRequestHandle>) -> Result<String> {
        Ok(self.node()?.machine_name.clone())
    }

    async fn user_data(&mut self, _request: Resource<NodeRequestHandle>) -> Result<Option<Vec<u8>>> {
        Ok(self.node()?.user_data.clone())
    }

    async fn attributes(&mut self, _request: Resource<NodeRequestHandle>) -> Result<String> {
        Ok(self.node()?.attributes.to_string())
    }

    async fn labels(&mut self, _request: Resource<NodeRequestHandle>) -> Result<Vec<(String, String)>> {
        Ok(self.node()?.labels())
    }

    async fn repeated(&mut self, _request: Resource<NodeRequestHandle>) -> Result<bool> {
        Ok(self.node()?.repeated)
    }

    async fn drop(&mut self, request: Resource<NodeRequestHandle>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl health::Host for HostState {}

impl health::HostTarget for HostState {
    async fn context(&mut self, _target: Resource<HealthTargetHandle>) -> Result<Resource<ContextHandle>> {
        self.push(ContextHandle)
    }

    async fn section(&mut self, _target: Resource<HealthTargetHandle>) -> Result<String> {
        Ok(HostState::section(self))
    }

    async fn address(&mut self, _target: Resource<HealthTargetHandle>) -> Result<String> {
        Ok(HostState::target(self)?.addresses.first().map(|address| address.value.clone()).unwrap_or_default())
    }

    async fn addresses(&mut self, _target: Resource<HealthTargetHandle>) -> Result<Vec<wit::Address>> {
        Ok(HostState::target(self)?.addresses.iter().map(address_to_wit).collect())
    }

    async fn node_name(&mut self, _target: Resource<HealthTargetHandle>) -> Result<String> {
        Ok(HostState::target(self)?.node_name.clone())
    }

    async fn instance_id(&mut self, _target: Resource<HealthTargetHandle>) -> Result<String> {
        Ok(HostState::target(self)?.instance_id.clone())
    }

    async fn template_data(&mut self, _target: Resource<HealthTargetHandle>) -> Result<String> {
        Ok(HostState::target(self)?.template_data.to_string())
    }

    async fn drop(&mut self, target: Resource<HealthTargetHandle>) -> Result<()> {
        self.table.delete(target)?;
        Ok(())
    }
}

impl context::Host for HostState {}

impl context::HostRequest for HostState {
    async fn context(&mut self, _request: Resource<ContextRequestHandle>) -> Result<Resource<ContextHandle>> {
        self.push(ContextHandle)
    }

    async fn section(&mut self, _request: Resource<ContextRequestHandle>) -> Result<String> {
        Ok(HostState::section(self))
    }

    async fn resource_section(&mut self, _request: Resource<ContextRequestHandle>) -> Result<String> {
        Ok(self.rendering()?.resource.to_string())
    }

    async fn template_data(&mut self, _request: Resource<ContextRequestHandle>) -> Result<String> {
        Ok(self.rendering()?.template_data.to_string())
    }

    async fn connections(&mut self, _request: Resource<ContextRequestHandle>) -> Result<String> {
        Ok(self.rendering()?.connections.to_string())
    }

    async fn facts(&mut self, _request: Resource<ContextRequestHandle>) -> Result<Resource<FactsHandle>> {
        self.push(FactsHandle)
    }

    async fn drop(&mut self, request: Resource<ContextRequestHandle>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl context::HostFacts for HostState {
    async fn instances(
        &mut self,
        _facts: Resource<FactsHandle>,
        node_name: Option<String>,
    ) -> Result<Vec<context::Instance>> {
        let instances = self.rendering()?.instances.iter();
        let selected = instances.filter(|instance| node_name.as_ref().is_none_or(|name| instance.node_name == *name));
        let instance = |instance: &occopus_engine::ports::InstanceFacts| context::Instance {
            instance_id: instance.instance_id.clone(),
            node_name: instance.node_name.clone(),
            addresses: instance.addresses.iter().map(address_to_wit).collect(),
            data: instance.data.to_string(),
        };
        Ok(selected.map(|found| instance(found)).collect())
    }

    async fn command(&mut self, _facts: Resource<FactsHandle>, line: String) -> Result<Result<String, wit::Fault>> {
        if !self.call.services.allow_commands {
            let message = format!(
                "`cmd({line:?})` is not run: commands of templates run on this machine as you, so they are off. To allow \
                 them, write `allow_commands: true` into the configuration"
            );
            return Ok(Err(fault_to_wit(Fault::new(Reaction::Denied, "occopus.commands-not-allowed", message))));
        }
        if let Err(refusal) = self.call.grants.check_command() {
            return Ok(Err(fault_to_wit(refusal.into())));
        }
        if self.call.context.preview || self.call.grants.is_offline() {
            return Ok(Ok("output-of-a-command".to_owned()));
        }
        let remaining = self.call.deadline.saturating_duration_since(tokio::time::Instant::now());
        Ok(commands::run(&line, remaining).await.map_err(fault_to_wit))
    }

    async fn drop(&mut self, facts: Resource<FactsHandle>) -> Result<()> {
        self.table.delete(facts)?;
        Ok(())
    }
}

impl config::Host for HostState {}

impl config::HostScope for HostState {
    async fn context(&mut self, _scope: Resource<ConfigScopeHandle>) -> Result<Resource<ContextHandle>> {
        self.push(ContextHandle)
    }

    async fn section(&mut self, _scope: Resource<ConfigScopeHandle>) -> Result<String> {
        Ok(HostState::section(self))
    }

    async fn credential(&mut self, _scope: Resource<ConfigScopeHandle>) -> Result<Option<Resource<CredentialHandle>>> {
        HostState::credential(self)
    }

    async fn infrastructure_id(&mut self, _scope: Resource<ConfigScopeHandle>) -> Result<String> {
        Ok(self.call.context.infrastructure_id.clone())
    }

    async fn drop(&mut self, scope: Resource<ConfigScopeHandle>) -> Result<()> {
        self.table.delete(scope)?;
        Ok(())
    }
}

impl config::HostRegistration for HostState {
    async fn scope(&mut self, _registration: Resource<RegistrationHandle>) -> Result<Resource<ConfigScopeHandle>> {
        self.push(ConfigScopeHandle)
    }

    async fn instance_id(&mut self, _registration: Resource<RegistrationHandle>) -> Result<String> {
        Ok(self.node()?.instance_id.clone())
    }

    async fn node_name(&mut self, _registration: Resource<RegistrationHandle>) -> Result<String> {
        Ok(self.node()?.node_name.clone())
    }

    async fn attributes(&mut self, _registration: Resource<RegistrationHandle>) -> Result<String> {
        let attributes = self.node().map(|node| node.attributes.clone());
        Ok(attributes.unwrap_or(Value::Object(Map::new())).to_string())
    }

    async fn drop(&mut self, registration: Resource<RegistrationHandle>) -> Result<()> {
        self.table.delete(registration)?;
        Ok(())
    }
}
