//! A login at Keystone, kept for later calls
//! (<https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management>).

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use occopus_sdk::http::{HttpError, Response};

use occopus_sdk::{Credential, Encoding, Fault, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::catalogue::{self, Entry, Service};
use crate::handle::Tenancy;
use crate::refusal::{self, error_text};
use crate::section::Section;

/// Code of an answer that is not Keystone's.
pub(crate) const NOT_KEYSTONE_CODE: &str = "nova.not-keystone";
/// Seconds before its end from which a token is no longer used.
const TOKEN_EXPIRY_MARGIN_S: i64 = 300;

/// A token with the services that it opens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) token: String,
    /// Project that the token opens.
    project: Option<String>,
    /// Region of Nova.
    region: Option<String>,
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
    issued_at: Option<Timestamp>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    project: Option<Project>,
    #[serde(default)]
    catalog: Vec<Entry>,
}

#[derive(Deserialize)]
struct Project {
    id: String,
}

impl Token {
    /// Returns the seconds for which it is good, by the cloud's own clock: this machine's may differ.
    fn lifetime(&self, response: &Response) -> i64 {
        let answered = || DateTimeParser::new().parse_timestamp(response.header("date")?).ok();
        match (self.issued_at.or_else(answered), self.expires_at) {
            (Some(begin), Some(end)) => end.as_second() - begin.as_second(),
            _ => 0,
        }
    }
}

impl Session {
    /// Returns the session of an earlier call, if its token is good for a while yet.
    pub(crate) fn cached(scope: &Scope<Section>) -> Option<Self> {
        serde_json::from_slice(&scope.cache().get(&cache_key(scope))?).ok()
    }

    /// Logs in.
    pub(crate) fn log_in(scope: &Scope<Section>) -> Result<Self, Fault> {
        let section = &scope.section;
        let url = scope.call().url_for(&section.endpoint).map_err(|fault| {
            fault.at("/endpoint", "write the URL of Keystone, such as https://cloud.example.com:5000/v3")
        })?;
        let body = json!({"auth": auth_request(scope)?});
        let request = scope.http().post(format!("{}/auth/tokens", section.identity(&url))).json(&body);
        let response = request.send().map_err(|error| connection_fault(section, error))?;
        if !response.is_success() {
            return Err(login_fault(section, &response));
        }
        let token = response.header("x-subject-token").map(str::to_owned);
        let (Some(token), Ok(answer)) = (token, response.json::<Answer>()) else {
            return Err(foreign_answer_fault(section, &response));
        };
        let catalog = &answer.token.catalog;
        let (compute, region) = catalogue::find_endpoint(catalog, Service::Compute, section)?;
        let other = |service| catalogue::find_endpoint(catalog, service, section).ok().map(|(url, _)| url);
        let project = answer.token.project.as_ref().map(|project| project.id.clone());
        let session = Self {
            token,
            // If the answer does not name it, it is the one that was requested.
            project: project.or_else(|| login_project(scope).map(str::to_owned)),
            region,
            compute,
            image: other(Service::Image),
            network: other(Service::Network),
        };
        let seconds = answer.token.lifetime(&response) - TOKEN_EXPIRY_MARGIN_S;
        // A token of a few minutes is not kept.
        if let (Ok(seconds), Ok(kept)) = (u64::try_from(seconds), serde_json::to_vec(&session)) {
            scope.cache().put(&cache_key(scope), &kept, Duration::from_secs(seconds));
        }
        Ok(session)
    }

    /// Returns the part of the cloud that the token opens.
    pub(crate) fn tenancy(&self) -> Tenancy {
        Tenancy::new(self.project.as_deref(), self.region.as_deref(), &self.compute)
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

/// Returns the key in the cache, which is kept apart for each rule of the credentials. The content of a rule may
/// change.
fn cache_key(scope: &Scope<Section>) -> String {
    let section = &scope.section;
    let region = section.region().unwrap_or_default();
    let public = |field: &str| scope.credential().and_then(|credential| credential.public(field)).unwrap_or_default();
    let user = format!("{}\n{}", public("username"), public("id"));
    let project = section.project_id.trim();
    format!("session\n{}\n{project}\n{}\n{region}\n{user}", section.endpoint, section.user_domain())
}

/// Returns true for an application credential, which has its own project.
fn is_application_credential(credential: &Credential) -> bool {
    credential.fields().iter().any(|field| field == "type")
}

/// Returns the project that a login with a password requests.
fn login_project(scope: &Scope<Section>) -> Option<&str> {
    let by_password = scope.credential().is_some_and(|credential| !is_application_credential(credential));
    by_password.then(|| scope.section.project_id.trim())
}

fn auth_request(scope: &Scope<Section>) -> Result<Value, Fault> {
    let section = &scope.section;
    let credential = scope.credential().ok_or_else(|| {
        Fault::denied("nova.no-credential", format!("there are no credentials for {}", section.endpoint))
            .detail("Add a rule for it to auth_data.yaml, with `username` and `password`.")
    })?;
    let placeholder = |field: &str| Ok::<_, Fault>(credential.require(field)?.placeholder(Encoding::Json));
    if is_application_credential(credential) {
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

fn connection_fault(section: &Section, error: HttpError) -> Fault {
    // A login that was lost may be made again.
    let mut fault = error.of_reading("nova.unreachable");
    fault.message = format!("no answer from Keystone at {}: {}", section.endpoint, fault.message);
    fault.at("/endpoint", "is this where Keystone listens?")
}

fn login_fault(section: &Section, response: &Response) -> Fault {
    let endpoint = &section.endpoint;
    let said = error_text(response);
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
        404 | 405 => return foreign_answer_fault(section, response),
        429 => Fault::retry("nova.throttled", message),
        500.. => Fault::retry("nova.server-error", message),
        _ => Fault::give_up("nova.refused", message),
    };
    refusal::with_request_id(fault, response)
}

fn foreign_answer_fault(section: &Section, response: &Response) -> Fault {
    let message =
        format!("the server at {} does not answer like Keystone (status {})", section.endpoint, response.status);
    Fault::give_up(NOT_KEYSTONE_CODE, message).at("/endpoint", "is this the URL of Keystone, version 3?")
}
