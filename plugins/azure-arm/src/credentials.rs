//! Credentials that the user writes into `auth_data.yaml`, for both drivers.

use std::borrow::Cow;

use occopus_sdk::{Credential, Encoding, Fault};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::token::form_encoded;

/// A service principal with a secret or a federated token, or a token that is ready.
pub struct Credentials;

impl JsonSchema for Credentials {
    fn schema_name() -> Cow<'static, str> {
        "Credentials".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let public = |description: &str| json_schema!({"type": "string", "description": description, "x-public": true});
        let secret = |description: &str| json_schema!({"type": "string", "description": description});
        json_schema!({
            "type": "object",
            "description": "A service principal with a secret or a federated token, or a token that is ready.",
            "properties": {
                "subscription_id": public("Id of the subscription."),
                "tenant_id": public("Id, or a domain, of the tenant."),
                "client_id": public("Id of the application (the service principal)."),
                "client_secret": secret("Secret of the application: its value, not its id."),
                "federated_token": secret("Token of another identity provider that the application trusts (workload identity)."),
                "access_token": secret("Token for the management host that is ready, such as that of `az account get-access-token`.")
            },
            "required": ["subscription_id"],
            "additionalProperties": false,
            "if": {"required": ["access_token"]},
            "else": {
                "required": ["tenant_id", "client_id"],
                "if": {"required": ["federated_token"]},
                "else": {"required": ["client_secret"]}
            }
        })
    }
}

/// Proof with which a token is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    ClientSecret,
    FederatedToken,
    /// No request: the token is there.
    AccessToken,
}

/// Identity behind a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) subscription: String,
    pub(crate) tenant: String,
    pub(crate) client: String,
    pub(crate) proof: Proof,
}

impl Identity {
    /// Reads the credential of a call.
    ///
    /// # Errors
    /// `denied` if there is none, or if a value is missing or can't be part of a URL.
    pub(crate) fn of(credential: Option<&Credential>, endpoint: &str) -> Result<Self, Fault> {
        let credential = credential.ok_or_else(|| {
            Fault::denied("azure.no-credential", format!("there are no credentials for {endpoint}")).detail(
                "Add a rule for it to auth_data.yaml, with `tenant_id`, `client_id`, `client_secret` and `subscription_id`.",
            )
        })?;
        let has = |field: &str| credential.fields().iter().any(|known| known == field);
        let proof = match (has("access_token"), has("federated_token")) {
            (true, _) => Proof::AccessToken,
            (false, true) => Proof::FederatedToken,
            (false, false) => Proof::ClientSecret,
        };
        let value = |field: &str| match credential.public(field).map(|value| value.trim().to_owned()) {
            Some(value) if is_plain(&value) => Ok(value),
            Some(value) => Err(Fault::denied(
                "azure.bad-credential",
                format!("`{field}` in auth_data.yaml can't be `{value}`: an id is written there"),
            )),
            None => Err(missing(field)),
        };
        let (tenant, client) = match proof {
            Proof::AccessToken => Default::default(),
            Proof::ClientSecret | Proof::FederatedToken => (value("tenant_id")?, value("client_id")?),
        };
        Ok(Self { subscription: value("subscription_id")?, tenant, client, proof })
    }

    /// Returns the form that requests a token, with the placeholder of the secret.
    pub(crate) fn form(&self, credential: Option<&Credential>, token_scope: &str) -> Result<String, Fault> {
        let proof = match self.proof {
            Proof::ClientSecret => ("client_secret", "client_secret"),
            Proof::FederatedToken | Proof::AccessToken => ("client_assertion", "federated_token"),
        };
        let secret = credential.ok_or_else(|| missing(proof.1))?.require(proof.1)?.placeholder(Encoding::Percent);
        let mut form =
            form_encoded(&[("grant_type", "client_credentials"), ("client_id", &self.client), ("scope", token_scope)]);
        if proof.0 == "client_assertion" {
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            form.push_str(&format!("&{}", form_encoded(&[("client_assertion_type", kind)])));
        }
        form.push_str(&format!("&{}={secret}", proof.0));
        Ok(form)
    }
}

fn missing(field: &str) -> Fault {
    Fault::denied("azure.no-credential", format!("the rule in auth_data.yaml has no `{field}`"))
}

/// Returns true for what can be a segment of a path: an id or a domain.
fn is_plain(value: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !value.is_empty() && value.len() <= 256 && value.bytes().all(is_good) && !value.starts_with('.')
}
