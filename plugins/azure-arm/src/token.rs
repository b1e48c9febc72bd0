//! Tokens of Microsoft Entra ID, kept for later calls
//! (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).

use std::time::Duration;

use occopus_sdk::http::{Http, HttpError, Response, encoded};
use occopus_sdk::{Cache, Credential, Encoding, Fault};
use serde_json::Value;

use crate::aadsts::{self, LoginReaction};
use crate::cache;
use crate::client::NOT_AZURE_CODE;
use crate::cloud::Cloud;
use crate::credentials::{Identity, Proof};

/// Time before its end from which a token is no longer used, for tokens of an hour.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);
/// Bytes of a token. Those of members of many groups have 10 KiB.
const MAX_TOKEN_BYTES: usize = 32 << 10;
/// Delay before a log-in is repeated that was refused for the moment, if the answer gives none.
const DEFAULT_LOGIN_DELAY: Duration = Duration::from_secs(5);

/// Text of the header `authorization`, and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) header: String,
    pub(crate) origin: Origin,
}

/// Origin of a token, which says what a refusal of it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Log-in of an earlier call: it may have been revoked, or have ended.
    Cached,
    /// Log-in a moment ago.
    Fresh,
    /// Log-in of this call, which has been accepted since: it may have ended.
    Accepted,
    /// The user's own, which only the user can renew.
    Given,
}

/// Access to the log-in host.
pub(crate) struct Login<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) identity: &'a Identity,
    pub(crate) credential: Option<&'a Credential>,
    pub(crate) cache: Cache,
    /// The endpoint as the user wrote it, for messages.
    pub(crate) endpoint: &'a str,
}

impl Login<'_> {
    /// Returns a token: the user's own, that of an earlier call, or a new one.
    pub(crate) fn token(&self, http: Http) -> Result<Token, Fault> {
        if self.identity.proof == Proof::AccessToken {
            let secret = self.credential.map(|credential| credential.require("access_token")).transpose()?;
            let placeholder = secret.map(|secret| secret.placeholder(Encoding::Plain)).unwrap_or_default();
            return Ok(Token { header: format!("Bearer {placeholder}"), origin: Origin::Given });
        }
        match cache::text(self.cache, &self.cache_key()) {
            Some(token) => Ok(Token { header: format!("Bearer {token}"), origin: Origin::Cached }),
            None => self.request(http),
        }
    }

    /// Requests a token, and keeps it until shortly before its end.
    pub(crate) fn request(&self, http: Http) -> Result<Token, Fault> {
        cache::forget(self.cache, &self.cache_key());
        let url = format!("{}/{}/oauth2/v2.0/token", self.cloud.login, encoded(&self.identity.tenant));
        let form = self.identity.form(self.credential, &self.cloud.token_scope)?;
        let request = http.post(url).header("content-type", "application/x-www-form-urlencoded");
        let response = request
            .header("accept", "application/json")
            .body(form)
            .send()
            .map_err(|error| self.connection_fault(error))?;
        if !response.is_success() {
            return Err(self.refusal(&response));
        }
        let (token, lifetime) = read(&response).ok_or_else(|| self.foreign(&response))?;
        let kept_for = lifetime.saturating_sub(EXPIRY_MARGIN.min(lifetime / 2));
        if !kept_for.is_zero() {
            self.cache.put(&self.cache_key(), token.as_bytes(), kept_for);
        }
        Ok(Token { header: format!("Bearer {token}"), origin: Origin::Fresh })
    }

    /// Returns the key in the cache, which is kept apart for each rule of the credentials. The content of a rule may
    /// change.
    fn cache_key(&self) -> String {
        let Identity { tenant, client, proof, .. } = self.identity;
        format!("azure token\n{}\n{}\n{tenant}\n{client}\n{proof:?}", self.cloud.login, self.cloud.token_scope)
    }

    fn connection_fault(&self, error: HttpError) -> Fault {
        // A log-in that was lost may be made again.
        let mut fault = error.of_reading("azure.unreachable");
        fault.message =
            format!("no answer from {}, where tokens for Azure come from: {}", self.cloud.login, fault.message);
        if self.cloud.login == self.cloud.management {
            return fault.at("/endpoint", "is this the management host of Azure?");
        }
        fault
    }

    fn refusal(&self, response: &Response) -> Fault {
        let login = &self.cloud.login;
        if matches!(response.status, 300..=399) {
            let target = response.header("location").unwrap_or("another place");
            let message = format!("{login} redirects to {target}; secrets are not sent there");
            return Fault::give_up("azure.redirect", message)
                .at("/endpoint", "is this the management host of your cloud?");
        }
        let answer: Value = response.json().unwrap_or_default();
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let Some(error) = text("error") else {
            return match response.status {
                429 => later(
                    Fault::retry("azure.throttled", format!("{login} refuses more log-ins at the moment")),
                    response,
                ),
                500.. => later(
                    Fault::retry("azure.server-error", format!("{login} answers with status {}", response.status)),
                    response,
                ),
                _ => self.foreign(response),
            };
        };
        let said = text("error_description").unwrap_or(error);
        let listed =
            answer.get("error_codes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64);
        let codes: Vec<u64> = listed.chain(aadsts::codes_in(said)).collect();
        // Microsoft's words go on with ids in further lines, which are details here.
        let first_line = said.lines().next().unwrap_or(said).trim();
        let name = codes.first().map_or_else(|| error.to_owned(), |code| format!("AADSTS{code}"));
        let message = format!("{login} refuses the log-in: {first_line} ({error})");
        let known = aadsts::look_up(&codes);
        let is_later =
            matches!(known, Some((LoginReaction::Later, _))) || response.status == 429 || response.status >= 500;
        let mut fault = match is_later {
            true => later(Fault::retry(format!("azure.{name}"), message), response),
            false => Fault::denied(format!("azure.{name}"), message),
        };
        if let Some((_, advice)) = known {
            fault = fault.detail(advice);
        }
        for (name, words) in [("correlation_id", "correlation id"), ("trace_id", "trace id")] {
            if let Some(id) = text(name) {
                fault = fault.detail(format!("{words} {id}"));
            }
        }
        fault
    }

    fn foreign(&self, response: &Response) -> Fault {
        let (login, status) = (&self.cloud.login, response.status);
        let message = format!("the server at {login} does not answer like Microsoft's log-in (status {status})");
        Fault::give_up(NOT_AZURE_CODE, message)
            .at("/endpoint", format!("is {} the management host of Azure?", self.endpoint))
    }
}

fn later(fault: Fault, response: &Response) -> Fault {
    fault.retry_after(response.retry_after().unwrap_or(DEFAULT_LOGIN_DELAY))
}

/// Reads a token and its lifetime. The older endpoint writes numbers as texts.
fn read(response: &Response) -> Option<(String, Duration)> {
    let answer: Value = response.json().ok()?;
    let token = answer.get("access_token").and_then(Value::as_str)?;
    let is_good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let kind = answer.get("token_type").and_then(Value::as_str)?;
    if token.is_empty()
        || token.len() > MAX_TOKEN_BYTES
        || !token.bytes().all(is_good)
        || !kind.eq_ignore_ascii_case("bearer")
    {
        return None;
    }
    let seconds = match answer.get("expires_in") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(number) => number.as_u64(),
        None => None,
    };
    Some((token.to_owned(), Duration::from_secs(seconds.unwrap_or(0))))
}

/// Returns a form (`application/x-www-form-urlencoded`).
pub(crate) fn form_encoded(fields: &[(&str, &str)]) -> String {
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}
