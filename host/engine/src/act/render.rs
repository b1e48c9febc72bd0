//! Rendering of a node's data for its start: by its config manager, then by its contextualiser. The host renders the
//! `resource` section and the health checks itself.

use std::sync::Arc;

use occopus_model::{Implementation, Infrastructure, Node, section_type};
use serde_json::{Map, Value, json};

use super::{PeerFacts, context, user_fields};
use crate::ports::{CallContext, CallScope, ContextRequest, Fault, Reaction, Rendered, Renderers};

/// The instance to render for, and its surroundings.
pub(crate) struct RenderInput<'a> {
    pub(crate) infra_id: &'a str,
    pub(crate) infrastructure: &'a Infrastructure,
    pub(crate) node: &'a Node,
    pub(crate) implementation: &'a Implementation,
    pub(crate) instance: &'a str,
    /// Facts about the instances that exist already.
    pub(crate) facts: PeerFacts,
    pub(crate) context: CallContext,
}

/// Renders once. `resource` of the result is the whole section, or `None` if it stays as it is written: its texts are
/// rendered by the host from the user's own variables, and a contextualiser adds the keys that the driver leaves open.
pub(crate) async fn render(plugins: &dyn Renderers, of: &RenderInput<'_>) -> Result<Rendered, Fault> {
    let RenderInput { infra_id, infrastructure, node, implementation, instance, .. } = of;
    let data = context::template_data(infra_id, infrastructure, node, implementation, instance);
    let section = implementation.contextualisation.clone().unwrap_or_else(|| json!({}));
    let keyword = section_type(&section).unwrap_or("basic").to_owned();
    let contextualiser = plugins.contextualiser(&keyword).ok_or_else(|| missing_plugin("contextualiser", &keyword))?;
    let driver = section_type(&implementation.resource).unwrap_or_default();
    let open_decisions = plugins.open_decisions(driver);

    let resource = render_resource(plugins, of, &data).await?;
    let own_attributes = match open_decisions.runs_programs && !contextualiser.is_bundled() {
        true => Some(render_attributes(plugins, of, &section, &data).await?),
        false => None,
    };
    let data = with_config_management(plugins, of, data).await?;
    let mut rendered = contextualiser.render(&request(of, section, data)).await?;

    let written = &implementation.resource;
    rendered.resource = match rendered.resource.take() {
        Some(answer) => {
            let own = resource.unwrap_or_else(|| written.clone());
            Some(user_fields::merge_open_keys(&keyword, &open_decisions, written, own, answer)?)
        }
        None => resource,
    };
    if let Some(own) = own_attributes {
        rendered.attributes = user_fields::checked_attributes(&keyword, own, &rendered.attributes)?;
    }
    Ok(rendered)
}

/// Returns the `resource` section with its texts rendered; `None` if there are no templates in it.
async fn render_resource(plugins: &dyn Renderers, of: &RenderInput<'_>, data: &Value) -> Result<Option<Value>, Fault> {
    let written = &of.implementation.resource;
    if user_fields::is_plain(written) {
        return Ok(None);
    }
    render_user_templates(plugins, of, &keeping_newlines(written), data, "/resource").await.map(Some)
}

/// Returns `attributes` of the user's `contextualisation`, rendered.
async fn render_attributes(
    plugins: &dyn Renderers,
    of: &RenderInput<'_>,
    section: &Value,
    data: &Value,
) -> Result<Map<String, Value>, Fault> {
    let Some(written) = section.get("attributes").filter(|attributes| attributes.is_object()) else {
        return Ok(Map::new());
    };
    let rendered = render_user_templates(plugins, of, written, data, "/contextualisation/attributes").await?;
    Ok(rendered.as_object().cloned().unwrap_or_default())
}

/// Returns the variables, extended by those of the config manager if there is one.
async fn with_config_management(
    plugins: &dyn Renderers,
    of: &RenderInput<'_>,
    mut data: Value,
) -> Result<Value, Fault> {
    let Some(written) = &of.implementation.config_management else { return Ok(data) };
    let (section, added) = run_config_manager(plugins, of, written, &data).await?;
    data["config_management"] = section;
    if let (Some(data), Value::Object(added)) = (data.as_object_mut(), added) {
        if let Some(name) = added.keys().find(|name| data.contains_key(*name)) {
            let message = format!("the config manager sets the variable `{name}`, which templates already have");
            return Err(Fault::new(Reaction::GiveUp, "config-manager.not-its-own", message));
        }
        data.extend(added);
    }
    Ok(data)
}

/// Returns the rendered section of the config manager, and the variables that it adds.
async fn run_config_manager(
    plugins: &dyn Renderers,
    of: &RenderInput<'_>,
    section: &Value,
    data: &Value,
) -> Result<(Value, Value), Fault> {
    let keyword = section_type(section).unwrap_or_default();
    let manager = plugins.config_manager(keyword);
    // A preview goes on without a missing config manager.
    if manager.is_none() && !of.context.preview {
        return Err(missing_plugin("config manager", keyword));
    }
    // Its texts are templates, like those of attributes.
    let section = Arc::new(render_user_templates(plugins, of, section, data, "/config_management").await?);
    let scope = CallScope { context: of.context.clone(), section: Arc::clone(&section) };
    let added = match manager {
        Some(manager) => manager.template_data(&scope).await?,
        None => json!({}),
    };
    Ok((Value::clone(&section), added))
}

/// Renders the texts of the health checks, to verify that they can be rendered. In a run each checker renders its own.
pub(crate) async fn render_checks(plugins: &dyn Renderers, of: &RenderInput<'_>, address: &str) -> Result<(), Fault> {
    let checks = json!(of.implementation.health_check.checks);
    let data = json!({
        "ip": address,
        "variables": of.node.variables,
        "node_id": of.instance,
        "name": of.node.name,
        "infra_id": of.infra_id,
        "infra_name": of.infrastructure.name,
        "instance_data": {"resource_address": [address]},
    });
    render_user_templates(plugins, of, &checks, &data, "/health_check").await.map(drop)
}

/// Renders the user's texts with the bundled contextualiser `basic`, never with an installed plugin. `pointer` leads to
/// them from the root of the implementation.
async fn render_user_templates(
    plugins: &dyn Renderers,
    of: &RenderInput<'_>,
    written: &Value,
    data: &Value,
    pointer: &str,
) -> Result<Value, Fault> {
    const KEY: &str = "own";
    let templates = plugins.basic_contextualiser().ok_or_else(|| missing_plugin("contextualiser", "basic"))?;
    let section = json!({"type": "basic", "attributes": {KEY: written}});
    let rendered = templates.render(&request(of, section, data.clone())).await;
    let mut rendered = rendered
        .map_err(|fault| with_moved_pointers(fault, &format!("/contextualisation/attributes/{KEY}"), pointer))?;
    match rendered.attributes.get_mut(KEY).map(Value::take) {
        Some(own) => Ok(own),
        None => Err(Fault::new(
            Reaction::GiveUp,
            "occopus.bad-answer",
            "the contextualiser `basic` did not return a section",
        )),
    }
}

fn request(of: &RenderInput<'_>, section: Value, data: Value) -> ContextRequest {
    ContextRequest {
        context: of.context.clone(),
        resource: Arc::new(of.implementation.resource.clone()),
        template_data: data,
        connections: context::connections(of.infra_id, of.node),
        instances: Arc::clone(&of.facts.instances),
        section: Arc::new(section),
    }
}

/// Doubles the newline at the end of texts, since templates drop one.
fn keeping_newlines(value: &Value) -> Value {
    match value {
        Value::String(text) if text.ends_with('\n') => Value::String(format!("{text}\n")),
        Value::Array(items) => items.iter().map(keeping_newlines).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, field)| (key.clone(), keeping_newlines(field))).collect())
        }
        other => other.clone(),
    }
}

fn missing_plugin(kind: &str, keyword: &str) -> Fault {
    Fault::new(Reaction::GiveUp, "engine.no-plugin", format!("there is no {kind} for {keyword:?}"))
}

/// Replaces a prefix of the pointers of a fault: the text was rendered under another pointer than the one it is written at.
fn with_moved_pointers(mut fault: Fault, from: &str, to: &str) -> Fault {
    for detail in &mut fault.details {
        if let Some(rest) = detail.pointer.strip_prefix(from) {
            detail.pointer = format!("{to}{rest}");
        }
    }
    fault
}
