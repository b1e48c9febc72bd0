//! Implements the contract's exports for the traits of this crate.
#![allow(missing_docs, reason = "for the export macros only")]

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::{json, section};
use crate::about::{credentials_schema, schema};
use crate::bindings::imports::occopus::config::inputs as config_inputs;
use crate::bindings::imports::occopus::context::inputs as context_inputs;
use crate::bindings::imports::occopus::driver::inputs as driver_inputs;
use crate::bindings::imports::occopus::health::inputs as health_inputs;
use crate::bindings::imports::occopus::types::types as wit;
use crate::bindings::{config, context, driver, driver_full, health};
use crate::{
    Call, ConfigManager, ConfigScope, ContextRequest, Contextualiser, Credential, Driver, Facts, Fault, HealthChecker,
    Instance, Inventory, NodeRequest, Registration, Scope, Target, platform,
};

impl From<crate::Detail> for wit::Detail {
    fn from(detail: crate::Detail) -> Self {
        Self { pointer: detail.pointer, message: detail.message }
    }
}

impl From<Fault> for wit::Fault {
    fn from(fault: Fault) -> Self {
        Self {
            reaction: fault.reaction,
            code: fault.code,
            message: fault.message,
            retry_after_ms: fault
                .retry_after
                .map(|delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            details: fault.details.into_iter().map(Into::into).collect(),
        }
    }
}

/// Implementation of `describe` for the world in this module.
macro_rules! describe {
    ($world:ident, $plugin:ident, $credentials:expr) => {{
        let about = $plugin::ABOUT;
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        $world::exports::occopus::types::plugin::Description {
            name: about.name.to_owned(),
            version: about.version.to_owned(),
            keyword: about.keyword.to_owned(),
            summary: about.summary.to_owned(),
            section_schema: schema::<$plugin::Section>(),
            credentials_schema: $credentials,
            needs: $world::exports::occopus::types::plugin::Needs {
                network: owned(about.network),
                interfaces: owned(about.interfaces),
            },
        }
    }};
}

pub struct DriverAdapter<T>(PhantomData<T>);

fn scope<S: serde::de::DeserializeOwned>(scope: &driver_inputs::Scope) -> Result<Scope<S>, Fault> {
    Ok(Scope {
        section: section(&scope.section())?,
        call: Call(platform::Context(scope.context())),
        credential: scope.credential().map(|credential| Credential(platform::Credential(credential))),
    })
}

fn node_request<S: serde::de::DeserializeOwned>(request: &driver_inputs::NodeRequest) -> Result<NodeRequest<S>, Fault> {
    Ok(NodeRequest {
        scope: scope(&request.scope())?,
        instance_id: request.instance_id(),
        node_name: request.node_name(),
        infrastructure_id: request.infrastructure_id(),
        infrastructure_name: request.infrastructure_name(),
        machine_name: request.machine_name(),
        user_data: request.user_data(),
        attributes: json(&request.attributes()),
        labels: request.labels(),
        repeated: request.repeated(),
    })
}

/// Exports of a driver, for both worlds.
macro_rules! driver_world {
    ($world:ident, $bound:ident) => {
        const _: () = {
            use $world::exports::occopus::driver::nodes;

            impl From<nodes::Handle> for crate::Handle {
                fn from(handle: nodes::Handle) -> Self {
                    Self { version: handle.version, data: handle.data }
                }
            }

            impl From<crate::Observed> for nodes::Observed {
                fn from(observed: crate::Observed) -> Self {
                    let phase = match observed.phase {
                        crate::Phase::Pending => nodes::Phase::Pending,
                        crate::Phase::Running => nodes::Phase::Running,
                        crate::Phase::Stopped => nodes::Phase::Stopped,
                        crate::Phase::Failed => nodes::Phase::Failed,
                        crate::Phase::Gone => nodes::Phase::Gone,
                        crate::Phase::Unknown => nodes::Phase::Unknown,
                    };
                    Self {
                        handle: nodes::Handle { version: observed.handle.version, data: observed.handle.data },
                        phase,
                        addresses: observed.addresses,
                        attributes: observed.attributes,
                        message: observed.message,
                    }
                }
            }

            impl<T: $bound> $world::exports::occopus::types::plugin::Guest for DriverAdapter<T> {
                fn describe() -> $world::exports::occopus::types::plugin::Description {
                    describe!($world, T, credentials_schema::<T::Credentials>())
                }
            }

            impl<T: $bound> nodes::Guest for DriverAdapter<T> {
                fn create(request: &driver_inputs::NodeRequest) -> Result<nodes::Observed, wit::Fault> {
                    Ok(T::create(&node_request(request)?)?.into())
                }

                fn find(at: &driver_inputs::Scope, instance_id: String) -> Result<Option<nodes::Observed>, wit::Fault> {
                    Ok(T::find(&scope(at)?, &instance_id)?.map(Into::into))
                }

                fn observe(
                    at: &driver_inputs::Scope,
                    handles: Vec<nodes::Handle>,
                ) -> Result<Vec<nodes::Observed>, wit::Fault> {
                    let handles: Vec<_> = handles.into_iter().map(Into::into).collect();
                    Ok(T::observe(&scope(at)?, &handles)?.into_iter().map(Into::into).collect())
                }

                fn destroy(at: &driver_inputs::Scope, handle: nodes::Handle) -> Result<(), wit::Fault> {
                    Ok(T::destroy(&scope(at)?, &handle.into())?)
                }
            }

            impl<T: $bound> $world::exports::occopus::driver::preflight::Guest for DriverAdapter<T> {
                fn check(request: &driver_inputs::NodeRequest) -> Vec<wit::Detail> {
                    let found = match node_request(request) {
                        Ok(request) => T::check(&request),
                        // A section that does not fit: its details say where.
                        Err(fault) if fault.details.is_empty() => {
                            vec![crate::Detail { pointer: String::new(), message: fault.message }]
                        }
                        Err(fault) => fault.details,
                    };
                    found.into_iter().map(Into::into).collect()
                }
            }

            impl<T: $bound> $world::exports::occopus::driver::output::Guest for DriverAdapter<T> {
                fn tail(at: &driver_inputs::Scope, handle: nodes::Handle, lines: u32) -> Result<String, wit::Fault> {
                    Ok(T::tail(&scope(at)?, &handle.into(), lines)?)
                }
            }
        };
    };
}

driver_world!(driver, Driver);
driver_world!(driver_full, Inventory);

impl<T: Inventory> driver_full::exports::occopus::driver::inventory::Guest for DriverAdapter<T> {
    fn list_owned(
        at: &driver_inputs::Scope,
        cursor: Option<String>,
    ) -> Result<driver_full::exports::occopus::driver::inventory::Page, wit::Fault> {
        use driver_full::exports::occopus::driver::inventory;
        let page = T::list_owned(&scope(at)?, cursor.as_deref())?;
        let owned = |machine: crate::Owned| inventory::Owned {
            instance_id: machine.instance_id,
            infrastructure_id: machine.infrastructure_id,
            observed: machine.observed.into(),
        };
        Ok(inventory::Page { machines: page.machines.into_iter().map(owned).collect(), cursor: page.cursor })
    }
}

pub struct HealthAdapter<T>(PhantomData<T>);

impl<T: HealthChecker> health::exports::occopus::types::plugin::Guest for HealthAdapter<T> {
    fn describe() -> health::exports::occopus::types::plugin::Description {
        describe!(health, T, String::new())
    }
}

impl<T: HealthChecker> health::exports::occopus::health::checker::Guest for HealthAdapter<T> {
    fn check(
        target: &health_inputs::Target,
    ) -> Result<health::exports::occopus::health::checker::Observation, wit::Fault> {
        let observation = T::check(&Target {
            section: section(&target.section())?,
            address: target.address(),
            addresses: target.addresses(),
            node_name: target.node_name(),
            instance_id: target.instance_id(),
            template_data: json(&target.template_data()),
            call: Call(platform::Context(target.context())),
        })?;
        Ok(health::exports::occopus::health::checker::Observation {
            verdict: observation.verdict,
            reason: observation.reason,
            details: observation.details,
        })
    }
}

pub struct ContextAdapter<T>(PhantomData<T>);

struct HostFacts(context_inputs::Facts);

impl Facts for HostFacts {
    fn instances(&self, node_name: Option<&str>) -> Vec<Instance> {
        let instance = |instance: context_inputs::Instance| Instance {
            instance_id: instance.instance_id,
            node_name: instance.node_name,
            addresses: instance.addresses,
            data: json(&instance.data),
        };
        self.0.instances(node_name).into_iter().map(instance).collect()
    }

    fn command(&self, line: &str) -> Result<String, Fault> {
        Ok(self.0.command(line)?)
    }
}

impl<T: Contextualiser> context::exports::occopus::types::plugin::Guest for ContextAdapter<T> {
    fn describe() -> context::exports::occopus::types::plugin::Description {
        describe!(context, T, String::new())
    }
}

impl<T: Contextualiser> context::exports::occopus::context::renderer::Guest for ContextAdapter<T> {
    fn render(
        request: &context_inputs::Request,
    ) -> Result<context::exports::occopus::context::renderer::Rendered, wit::Fault> {
        let rendered = T::render(&ContextRequest {
            section: section(&request.section())?,
            resource: json(&request.resource_section()),
            template_data: json(&request.template_data()),
            connections: json(&request.connections()),
            facts: Arc::new(HostFacts(request.facts())),
            call: Call(platform::Context(request.context())),
        })?;
        Ok(context::exports::occopus::context::renderer::Rendered {
            user_data: rendered.user_data,
            attributes: rendered.attributes.to_string(),
            sections: rendered
                .resource
                .map(|resource| ("resource".to_owned(), resource.to_string()))
                .into_iter()
                .collect(),
        })
    }
}

pub struct ConfigAdapter<T>(PhantomData<T>);

fn config_scope<S: serde::de::DeserializeOwned>(scope: &config_inputs::Scope) -> Result<ConfigScope<S>, Fault> {
    Ok(ConfigScope {
        section: section(&scope.section())?,
        infrastructure_id: scope.infrastructure_id(),
        call: Call(platform::Context(scope.context())),
        credential: scope.credential().map(|credential| Credential(platform::Credential(credential))),
    })
}

impl<T: ConfigManager> config::exports::occopus::types::plugin::Guest for ConfigAdapter<T> {
    fn describe() -> config::exports::occopus::types::plugin::Description {
        describe!(config, T, credentials_schema::<T::Credentials>())
    }
}

impl<T: ConfigManager> config::exports::occopus::config::manager::Guest for ConfigAdapter<T> {
    fn prepare(scope: &config_inputs::Scope) -> Result<(), wit::Fault> {
        Ok(T::prepare(&config_scope(scope)?)?)
    }

    fn remove(scope: &config_inputs::Scope) -> Result<(), wit::Fault> {
        Ok(T::remove(&config_scope(scope)?)?)
    }

    fn template_data(scope: &config_inputs::Scope) -> Result<String, wit::Fault> {
        Ok(T::template_data(&config_scope(scope)?)?.to_string())
    }

    fn register(node: &config_inputs::Registration) -> Result<(), wit::Fault> {
        Ok(T::register(&Registration {
            scope: config_scope(&node.scope())?,
            instance_id: node.instance_id(),
            node_name: node.node_name(),
            attributes: json(&node.attributes()),
        })?)
    }

    fn deregister(scope: &config_inputs::Scope, instance_id: String) -> Result<(), wit::Fault> {
        Ok(T::deregister(&config_scope(scope)?, &instance_id)?)
    }

    fn observe(scope: &config_inputs::Scope, instance_ids: Vec<String>) -> Result<Vec<crate::ConfigPhase>, wit::Fault> {
        Ok(T::observe(&config_scope(scope)?, &instance_ids)?)
    }

    fn attribute(
        scope: &config_inputs::Scope,
        instance_id: String,
        name: String,
    ) -> Result<Option<String>, wit::Fault> {
        Ok(T::attribute(&config_scope(scope)?, &instance_id, &name)?.map(|value| value.to_string()))
    }
}
