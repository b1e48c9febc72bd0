//! `docker`: command and environment for drivers of containers.

use occopus_sdk::jinja::Templates;
use occopus_sdk::{About, ContextRequest, Contextualiser, Fault, Rendered};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Section that the user writes. Every text in it is a template.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Variables of the container: a list of `NAME=VALUE`, or a mapping.
    env: Environment,
    /// Command to run instead of the image's own.
    #[serde(default)]
    command: Option<Command>,
    /// Further variables for the templates: a mapping, or a text that renders to one in YAML.
    #[serde(default)]
    context_variables: Option<Variables>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Environment {
    List(Vec<String>),
    Mapping(Map<String, Value>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Command {
    Line(String),
    Arguments(Vec<String>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Variables {
    Text(String),
    Mapping(Map<String, Value>),
}

/// The plugin.
pub struct Docker;

impl Contextualiser for Docker {
    type Section = Section;

    const ABOUT: About = About {
        name: "docker",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "docker",
        summary: "command and environment of a container",
        ..About::CONTEXT
    };

    fn render(request: &ContextRequest<Section>) -> Result<Rendered, Fault> {
        let templates = || Templates::new(&request.template_data).with_facts(&request.facts);
        let variables = match &request.section.context_variables {
            None => json!({}),
            Some(variables) => context_variables(&templates().keeping_newlines(), variables)?,
        };
        let templates = Templates::new(&request.template_data)
            .with(&variables)
            .with(&json!({"context_variables": variables}))
            .with_facts(&request.facts);
        let env = match &request.section.env {
            Environment::List(items) => json!(items),
            Environment::Mapping(fields) => json!(fields),
        };
        let command = match &request.section.command {
            None => Value::Null,
            Some(Command::Line(line)) => json!(line),
            Some(Command::Arguments(arguments)) => json!(arguments),
        };
        let attributes = json!({
            "env": templates.value("/env", &env)?,
            "command": templates.value("/command", &command)?,
            "connections": request.connections,
        });
        Ok(Rendered { attributes, ..Rendered::default() })
    }
}

fn context_variables(templates: &Templates, variables: &Variables) -> Result<Value, Fault> {
    const AT: &str = "/context_variables";
    let text = match variables {
        Variables::Mapping(fields) => return templates.value(AT, &Value::Object(fields.clone())),
        Variables::Text(source) => templates.text(AT, source)?,
    };
    let unusable =
        |why: String| Fault::give_up("docker.bad-variables", "`context_variables` can't be used").at(AT, why);
    match serde_yaml_ng::from_str(&text).map_err(|error| unusable(format!("after rendering: {error}")))? {
        Value::Object(fields) => Ok(Value::Object(fields)),
        Value::Null => Ok(json!({})),
        _ => Err(unusable("after rendering it is not a mapping".to_owned())),
    }
}

occopus_sdk::export_contextualiser!(Docker);

#[cfg(test)]
mod tests {
    use occopus_sdk::testing::{FakeFacts, render};
    use occopus_sdk::{Fault, Rendered};
    use serde_json::{Value, json};

    use super::Docker;

    fn rendered(section: Value) -> Result<Rendered, Fault> {
        render::<Docker>(&section, json!({}), json!({"node_id": "n1"}), FakeFacts::default())
    }

    #[test]
    fn command_and_environment_are_rendered() {
        let section =
            json!({"type": "docker", "env": ["ID={{ node_id }}"], "command": ["sh", "-c", "{{ 'aa' | b64encode }}"]});
        let expected = json!({"env": ["ID=n1"], "command": ["sh", "-c", "YWE="], "connections": []});
        assert_eq!(rendered(section).expect("it renders").attributes, expected);
        let mapping = rendered(json!({"env": {"A": "{{ node_id }}", "B": 1}})).expect("it renders");
        assert_eq!(mapping.attributes, json!({"env": {"A": "n1", "B": 1}, "command": null, "connections": []}));
    }

    #[test]
    fn context_variables_have_both_names() {
        for variables in [json!({"x": "{{ node_id }}!"}), json!("x: '{{ node_id }}!'\n")] {
            let section = json!({"env": ["{{ x }}={{ context_variables.x }}"], "context_variables": variables});
            assert_eq!(rendered(section).expect("it renders").attributes["env"], json!(["n1!=n1!"]));
        }
        for broken in ["- a\n", "a: b: c\n"] {
            let fault = rendered(json!({"env": [], "context_variables": broken})).expect_err("no mapping");
            assert_eq!(fault.details[0].pointer, "/context_variables");
        }
    }
}
