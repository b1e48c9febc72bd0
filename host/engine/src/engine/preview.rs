//! Previews of what new instances would get, with placeholders for what does not exist yet.
//!
//! Only plugins that reach nothing are used here: no cloud is called and no command is run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use occopus_model::{Implementation, Infrastructure, Node, section_type};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::act::{
    DesiredState, PeerFacts, RenderInput, instance_facts, is_plain, machine_name, render, render_checks, with_type,
};
use crate::error::{EngineError, FailureReason, NodeFailure, nearest_location};
use crate::id::InfrastructureId;
use crate::ports::{
    Address, CallContext, CallScope, CreateRequest, Detail, Fault, InstanceFacts, OfflinePlugins, Preflight, Reaction,
    Store, Warning,
};
use crate::preview::{Preview, PreviewWarning};
use crate::settings::Settings;
use crate::state::load_instances;

/// Id of an instance that does not exist yet.
const PLACEHOLDER_INSTANCE_ID: &str = "00000000-0000-4000-8000-000000000000";
/// Address of an instance that does not exist yet (RFC 5737).
const PLACEHOLDER_ADDRESS: &str = "192.0.2.254";
/// Number of renderings that run at once.
const MAX_CONCURRENT_RENDERS: usize = 8;

/// Input that all previews of an infrastructure share.
#[derive(Clone, Copy)]
struct PreviewSubject<'a> {
    infra_id: &'a str,
    desired: &'a Infrastructure,
    peers: &'a PreviewPeers,
    timeout: Duration,
}

/// Renders previews of these nodes, each or the failure in its place; without the rendered attributes and user data if
/// not `keeps_content`.
pub(super) async fn preview(
    plugins: &dyn OfflinePlugins,
    store: &dyn Store,
    settings: &Settings,
    id: Option<&InfrastructureId>,
    desired: &Infrastructure,
    nodes: &[usize],
    keeps_content: bool,
) -> Result<Vec<Result<Preview, NodeFailure>>, EngineError> {
    let infra_id = id.map_or(PLACEHOLDER_INSTANCE_ID, |id| id.as_str());
    let peers = PreviewPeers::new(infra_id, desired, existing_facts(store, id, desired).await?);
    let subject = PreviewSubject { infra_id, desired, peers: &peers, timeout: settings.query_timeout };
    let selected = nodes.iter().filter_map(|index| Some((*index, desired.nodes.get(*index)?)));
    // Collected, so that the closures are not part of the awaited future, which would not be `Send` with them.
    let renders: Vec<_> = selected
        .flat_map(|(index, node)| {
            desired
                .candidates(node)
                .map(move |(number, found)| preview_node(plugins, subject, (index, node), (number, found)))
        })
        .collect();
    let (mut renders, mut outcomes) = (stream::iter(renders).buffered(MAX_CONCURRENT_RENDERS), Vec::new());
    while let Some(mut outcome) = renders.next().await {
        if let (false, Ok(preview)) = (keeps_content, &mut outcome) {
            (preview.attributes, preview.user_data) = (Value::Null, None);
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

async fn preview_node(
    plugins: &dyn OfflinePlugins,
    subject: PreviewSubject<'_>,
    (index, node): (usize, &Node),
    (number, implementation): (usize, &Implementation),
) -> Result<Preview, NodeFailure> {
    let PreviewSubject { infra_id, desired: infrastructure, peers, timeout } = subject;
    let context = CallContext {
        infrastructure_id: infra_id.to_owned(),
        node: node.name.clone(),
        timeout,
        cancel: CancellationToken::new(),
        progress: None,
        preview: true,
    };
    let instance = PLACEHOLDER_INSTANCE_ID;
    let facts = peers.facts_for(index);
    let rendering = RenderInput { infra_id, infrastructure, node, implementation, instance, facts, context };
    let failed = |fault: Fault| {
        let driver = section_type(&implementation.resource).unwrap_or_default();
        let reason = FailureReason::Call { call: "render".into(), fault, attempts: 1, seconds: 0 };
        NodeFailure::new(node.name.clone(), instance, driver.to_owned(), Some(implementation), reason)
    };
    let rendered = render(plugins, &rendering).await.map_err(failed)?;
    if !implementation.health_check.checks.values().all(is_plain) {
        render_checks(plugins, &rendering, PLACEHOLDER_ADDRESS).await.map_err(failed)?;
    }
    let resource = rendered.resource.map(|section| with_type(section, &implementation.resource));
    let resource = resource.unwrap_or_else(|| implementation.resource.clone());
    let request = create_request(&rendering, &resource, rendered.attributes.clone(), rendered.user_data.clone());
    let found = check(plugins, &request).await.map_err(failed)?;
    let warnings = rendered.warnings.into_iter().chain(found.warnings);
    Ok(Preview {
        node: node.name.clone(),
        implementation: number,
        origin: implementation.origin.clone(),
        resource,
        attributes: rendered.attributes,
        user_data: rendered.user_data.map(|data| String::from_utf8_lossy(&data).into_owned()),
        warnings: warnings.map(|warning| preview_warning(warning, implementation)).collect(),
        refused: refusal_fault(found.refusals).map(failed),
    })
}

/// Returns the request that the driver would get.
fn create_request(
    of: &RenderInput<'_>,
    resource: &Value,
    attributes: Value,
    user_data: Option<Vec<u8>>,
) -> CreateRequest {
    let (infrastructure, node) = (of.infrastructure, of.node);
    CreateRequest {
        scope: CallScope { context: of.context.clone(), section: Arc::new(resource.clone()) },
        instance_id: of.instance.to_owned(),
        node_name: node.name.clone(),
        infrastructure_id: of.infra_id.to_owned(),
        infrastructure_name: infrastructure.name.clone(),
        machine_name: machine_name(&infrastructure.name, of.infra_id, &node.name, of.instance),
        user_data,
        attributes,
        repeated: false,
    }
}

/// Returns what the driver finds in the request. A missing plugin is reported elsewhere.
async fn check(plugins: &dyn OfflinePlugins, request: &CreateRequest) -> Result<Preflight, Fault> {
    let keyword = section_type(&request.scope.section).unwrap_or_default();
    plugins.check(keyword, request).await
}

fn refusal_fault(details: Vec<Detail>) -> Option<Fault> {
    let first = details.first()?;
    let mut fault = Fault::new(Reaction::GiveUp, "driver.refused", first.message.clone());
    fault.details = details;
    Some(fault)
}

fn preview_warning(warning: Warning, implementation: &Implementation) -> PreviewWarning {
    let location = nearest_location(implementation, &warning.pointer);
    PreviewWarning { code: warning.code, message: warning.message, location }
}

/// Returns the facts of existing instances that have an address, by node.
async fn existing_facts(
    store: &dyn Store,
    id: Option<&InfrastructureId>,
    desired: &Infrastructure,
) -> Result<HashMap<String, Vec<Arc<InstanceFacts>>>, EngineError> {
    let mut known: HashMap<_, Vec<_>> = HashMap::new();
    let Some(id) = id else { return Ok(known) };
    let desired = DesiredState::new(desired.clone());
    for record in load_instances(store, id).await? {
        if !record.addresses.is_empty() {
            known.entry(record.node.clone()).or_default().push(Arc::new(instance_facts(id, &desired, &record)));
        }
    }
    Ok(known)
}

/// Peers of each node, as it finds them when it starts.
struct PreviewPeers {
    /// Facts of each node's instances.
    instances: Vec<Vec<Arc<InstanceFacts>>>,
    /// Direct dependents of each node.
    dependents: Vec<Vec<usize>>,
}

impl PreviewPeers {
    fn new(infra_id: &str, desired: &Infrastructure, mut known: HashMap<String, Vec<Arc<InstanceFacts>>>) -> Self {
        let index: HashMap<_, _> =
            desired.nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        let mut dependents = vec![Vec::new(); desired.nodes.len()];
        for (at, node) in desired.nodes.iter().enumerate() {
            for dependee in node.depends_on.iter().filter_map(|name| index.get(name.as_str())) {
                if let Some(dependents) = dependents.get_mut(*dependee) {
                    dependents.push(at);
                }
            }
        }
        let instances = desired.nodes.iter().enumerate();
        let instances = instances.map(|(at, node)| {
            known.remove(&node.name).unwrap_or_else(|| placeholder_facts(infra_id, desired, at, node))
        });
        Self { instances: instances.collect(), dependents }
    }

    /// Returns the facts of all nodes but this one and its direct and indirect dependents, which start later.
    fn facts_for(&self, node: usize) -> PeerFacts {
        let mut later = HashSet::from([node]);
        let mut open = vec![node];
        while let Some(next) = open.pop() {
            let dependents = self.dependents.get(next).into_iter().flatten();
            open.extend(dependents.filter(|dependent| later.insert(**dependent)));
        }
        let earlier = self.instances.iter().enumerate().filter(|(at, _)| !later.contains(at));
        let earlier = earlier.flat_map(|(_, instances)| instances.iter().cloned());
        Arc::new(crate::act::PeerIndex::new(earlier.collect()))
    }
}

/// Returns facts with addresses that belong to nobody (RFC 5737), the same ones every time.
fn placeholder_facts(infra_id: &str, desired: &Infrastructure, at: usize, node: &Node) -> Vec<Arc<InstanceFacts>> {
    let placeholder = |number: u32| {
        let last = (at + usize::try_from(number).unwrap_or_default()) % 254 + 1;
        let addresses = [(format!("192.0.2.{last}"), false), (format!("198.51.100.{last}"), true)];
        let data = json!({
            "node_id": PLACEHOLDER_INSTANCE_ID,
            "name": node.name,
            "infra_id": infra_id,
            "infra_name": desired.name,
            "user_id": desired.user_id,
            "resource_address": addresses.iter().map(|(address, _)| address.as_str()).collect::<Vec<_>>(),
            "attributes": {},
        });
        let addresses = addresses.into_iter().map(|(value, internal)| Address { value, internal }).collect();
        Arc::new(InstanceFacts {
            instance_id: PLACEHOLDER_INSTANCE_ID.to_owned(),
            node_name: node.name.clone(),
            addresses,
            data,
        })
    };
    (0..node.scaling.min.min(16)).map(placeholder).collect()
}
