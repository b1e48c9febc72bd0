//! Credentials that the user writes into `auth_data.yaml`: those of Azure, of a private registry, and secret variables.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// Credentials of Azure, of a private registry, and secret environment variables.
pub struct Credentials;

impl JsonSchema for Credentials {
    fn schema_name() -> Cow<'static, str> {
        "Credentials".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = occopus_azure_arm::Credentials::json_schema(generator);
        let more = [
            (
                "registry_username",
                json!({"type": "string", "description": "User of `registry_server`.", "x-public": true}),
            ),
            ("registry_password", json!({"type": "string", "description": "Password of `registry_server`."})),
        ];
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.extend(more.map(|(name, value)| (name.to_owned(), value)));
        }
        let variable = json!({"type": "string", "description": "Value of a variable that `secure_env` names."});
        schema.insert("patternProperties".to_owned(), json!({"^env_[A-Za-z_][A-Za-z0-9_]*$": variable}));
        schema
    }
}
