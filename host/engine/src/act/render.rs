//! What a node gets to know: its contextualiser, and before it its config manager, are asked.

use std::sync::Arc;

use occopus_model::{Implementation, Infrastructure, Node};
use serde_json::{Value, json};

use super::{Facts, context};
use crate::ports::{CallContext, ContextRequest, Fault, Plugins, Reaction, Rendered, Scope};

/// Of which instance, and for whom.
pub(crate) struct Rendering<'a> {
    pub(crate) infra_id: &'a str,
    pub(crate) infrastructure: &'a Infrastructure,
    pub(crate) node: &'a Node,
    pub(crate) implementation: &'a Implementation,
    pub(crate) instance: &'a str,
    /// What exists already.
    pub(crate) facts: Facts,
    pub(crate) context: CallContext,
}

/// Renders once.
pub(crate) async fn render(plugins: &dyn Plugins, of: &Rendering<'_>) -> Result<Rendered, Fault> {
    let Rendering { infra_id, infrastructure, node, implementation, instance, .. } = of;
    let mut data = context::template_data(infra_id, infrastructure, node, implementation, instance);
    if let Some(section) = &implementation.config_management {
        let (section, added) = manage(plugins, of, section, &data).await?;
        data["config_management"] = section;
        if let (Some(data), Value::Object(added)) = (data.as_object_mut(), added) {
            data.extend(added);
        }
    }
    let section = implementation.contextualisation.clone().unwrap_or_else(|| json!({}));
    let keyword = section.get("type").and_then(Value::as_str).unwrap_or("basic").to_owned();
    ask(plugins, of, &keyword, section, data).await
}

/// The rendered section of the config manager, and the variables that it adds.
async fn manage(
    plugins: &dyn Plugins,
    of: &Rendering<'_>,
    section: &Value,
    data: &Value,
) -> Result<(Value, Value), Fault> {
    let keyword = section.get("type").and_then(Value::as_str).unwrap_or_default();
    let manager = plugins.config_manager(keyword);
    // A preview shows what can be shown.
    if manager.is_none() && !of.context.preview {
        return Err(missing("config manager", keyword));
    }
    // Its texts are templates like those of attributes, which `basic` renders.
    let as_attributes = json!({"type": "basic", "attributes": section});
    let rendered = ask(plugins, of, "basic", as_attributes, data.clone()).await;
    let rendered = rendered.map_err(|fault| moved(fault, "/config_management"))?;
    let mut section = rendered.attributes;
    if let Some(section) = section.as_object_mut() {
        section.shift_remove("connections");
    }
    let section = Arc::new(section);
    let scope = Scope { context: of.context.clone(), section: Arc::clone(&section) };
    let added = match manager {
        Some(manager) => manager.template_data(&scope).await?,
        None => json!({}),
    };
    Ok((Value::clone(&section), added))
}

/// Renders the texts of the health checks, to see whether they can be. At work each checker renders its own.
pub(crate) async fn try_checks(plugins: &dyn Plugins, of: &Rendering<'_>, address: &str) -> Result<(), Fault> {
    let checks = &of.implementation.health_check.checks;
    let data = json!({
        "ip": address,
        "variables": of.node.variables,
        "node_id": of.instance,
        "name": of.node.name,
        "infra_id": of.infra_id,
        "infra_name": of.infrastructure.name,
        "instance_data": {"resource_address": [address]},
    });
    let as_attributes = json!({"type": "basic", "attributes": checks});
    ask(plugins, of, "basic", as_attributes, data).await.map_err(|fault| moved(fault, "/health_check"))?;
    Ok(())
}

async fn ask(
    plugins: &dyn Plugins,
    of: &Rendering<'_>,
    keyword: &str,
    section: Value,
    data: Value,
) -> Result<Rendered, Fault> {
    let Some(contextualiser) = plugins.contextualiser(keyword) else { return Err(missing("contextualiser", keyword)) };
    let request = ContextRequest {
        context: of.context.clone(),
        resource: Arc::new(of.implementation.resource.clone()),
        template_data: data,
        connections: context::connections(of.infra_id, of.node),
        instances: Arc::clone(&of.facts.instances),
        section: Arc::new(section),
    };
    contextualiser.render(&request).await
}

fn missing(kind: &str, keyword: &str) -> Fault {
    Fault::new(Reaction::GiveUp, "engine.no-plugin", format!("there is no {kind} for {keyword:?}"))
}

/// What was rendered as attributes stands in another section.
fn moved(mut fault: Fault, section: &str) -> Fault {
    for detail in &mut fault.details {
        if let Some(rest) = detail.pointer.strip_prefix("/contextualisation/attributes") {
            detail.pointer = format!("{section}{rest}");
        }
    }
    fault
}
