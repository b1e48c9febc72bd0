//! A login at Keystone, kept for later calls
//! (<https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management>).

use std::time::Duration;

use jiff::Timestamp;
use occopus_sdk::http::{HttpError, Response};

use occopus_sdk::{Encoding, Fault, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::catalogue::{self, Entry, Service};
use crate::refusal::{self, words};
use crate::section::Section;

/// A token is no longer used this long before its end.
const MARGIN_S: i64 = 300;

/// A token with the services that it opens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) token: String,
    compute: String,
    image: Option<String>,
    network: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    catalog: Vec<Entry>,
}

impl Session {
    /// The one of an earlier call, if its token is good for a while yet.
    pub(crate) fn kept(scope: &Scope<Section>) -> Option<Self> {
        serde_json::from_slice(&scope.cache().get(&key(&scope.section))?).ok()
    }

    /// Logs in.
    pub(crate) fn open(scope: &Scope<Section>) -> Result<Self, Fault> {
        let section = &scope.section;
        let url = scope.call().url_for(&section.endpoint).map_err(|fault| {
            fault.at("/endpoint", "write the URL of Keystone, such as https://cloud.example.com:5000/v3")
        })?;
        let body = json!({"auth": auth(scope)?});
        let request = scope.http().post(format!("{}/auth/tokens", section.identity(&url))).json(&body);
        let response = request.send().map_err(|error| unreachable(section, error))?;
        if !response.is_success() {
            return Err(refused(section, &response));
        }
        let token = response.header("x-subject-token").map(str::to_owned);
        let (Some(token), Ok(answer)) = (token, response.json::<Answer>()) else {
            return Err(no_keystone(section, &response));
        };
        let catalog = &answer.token.catalog;
        let session = Self {
            token,
            compute: catalogue::url(catalog, Service::Compute, section)?,
            image: catalogue::url(catalog, Service::Image, section).ok(),
            network: catalogue::url(catalog, Service::Network, section).ok(),
        };
        let seconds =
            answer.token.expires_at.map_or(0, |end| end.as_second() - Timestamp::now().as_second() - MARGIN_S);
        // A token of a few minutes is not kept.
        if let (Ok(seconds), Ok(kept)) = (u64::try_from(seconds), serde_json::to_vec(&session)) {
            scope.cache().put(&key(section), &kept, Duration::from_secs(seconds));
        }
        Ok(session)
    }

    pub(crate) fn url(&self, service: Service, section: &Section) -> Result<&str, Fault> {
        let url = match service {
            Service::Compute => Some(&self.compute),
            Service::Image => self.image.as_ref(),
            Service::Network => self.network.as_ref(),
        };
        let kind = service.kind();
        let message = || format!("the catalogue of the cloud at {} has no public service `{kind}`", section.endpoint);
        url.map(String::as_str).ok_or_else(|| {
            Fault::give_up("nova.no-service", message()).at("/region_name", "is there one in another region?")
        })
    }
}

/// Of the cache. It is kept apart for each credential.
fn key(section: &Section) -> String {
    let region = section.region().unwrap_or_default();
    format!("session\n{}\n{}\n{}\n{region}", section.endpoint, section.project_id.trim(), section.user_domain())
}

fn auth(scope: &Scope<Section>) -> Result<Value, Fault> {
    let section = &scope.section;
    let credential = scope.credential().ok_or_else(|| {
        Fault::denied("nova.no-credential", format!("there are no credentials for {}", section.endpoint))
            .detail("Add a rule for it to auth_data.yaml, with `username` and `password`.")
    })?;
    let placeholder = |field: &str| Ok::<_, Fault>(credential.require(field)?.placeholder(Encoding::Json));
    if credential.fields().iter().any(|field| field == "type") {
        return Ok(json!({"identity": {
            "methods": ["application_credential"],
            "application_credential": {"id": placeholder("id")?, "secret": placeholder("secret")?},
        }}));
    }
    Ok(json!({
        "identity": {
            "methods": ["password"],
            "password": {"user": {
                "name": placeholder("username")?,
                "password": placeholder("password")?,
                "domain": {"name": section.user_domain()},
            }},
        },
        "scope": {"project": {"id": section.project_id.trim()}},
    }))
}

fn unreachable(section: &Section, error: HttpError) -> Fault {
    // A login that was lost may be made again.
    let mut fault = error.of_reading("nova.unreachable");
    fault.message = format!("no answer from Keystone at {}: {}", section.endpoint, fault.message);
    fault.at("/endpoint", "is this where Keystone listens?")
}

fn refused(section: &Section, response: &Response) -> Fault {
    let endpoint = &section.endpoint;
    let said = words(response);
    let message = format!("Keystone at {endpoint} refuses: {said}");
    let fault = match response.status {
        300..=399 => {
            let target = response.header("location").unwrap_or("another place");
            let message = format!(
                "{endpoint} redirects to {target}; passwords are not sent there, for the grant `endpoint` is of {endpoint} \
                 alone"
            );
            Fault::give_up("nova.redirect", message).at("/endpoint", "if that is the cloud, write its URL here")
        }
        401 => Fault::denied("nova.denied", message)
            .at("/project_id", "is this the id of a project of this user?")
            .detail("Are the user and the password in auth_data.yaml those of this cloud?")
            .detail(format!("The user's domain is `{}`; `user_domain_name` changes it.", section.user_domain())),
        403 => Fault::denied("nova.denied", message),
        404 | 405 => return no_keystone(section, response),
        429 => Fault::retry("nova.throttled", message),
        500.. => Fault::retry("nova.server-error", message),
        _ => Fault::give_up("nova.refused", message),
    };
    refusal::dressed(fault, response)
}

fn no_keystone(section: &Section, response: &Response) -> Fault {
    let message =
        format!("what listens at {} does not answer like Keystone (status {})", section.endpoint, response.status);
    Fault::give_up("nova.not-keystone", message).at("/endpoint", "is this the URL of Keystone, version 3?")
}
