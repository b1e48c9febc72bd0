//! Webhooks: POST requests to URLs of the user, over the client that plugins use, under the same rules. The headers are
//! those of [Standard Webhooks](https://www.standardwebhooks.com) 1.0.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use occopus_engine::ports::Reaction;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::grants::{CallGrants, GrantSubject, Grants};
use crate::http::{HttpClient, HttpError, HttpLimits};
use crate::runtime::Runtime;

/// Prefix of secrets that are bytes in base64; others are their own bytes.
const BASE64_SECRET_PREFIX: &str = "whsec_";

const HTTP_LIMITS: HttpLimits = HttpLimits {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(15),
    between_bytes: Duration::from_secs(5),
    request_body: 1 << 20,
    response_body: 1 << 16,
};

/// A webhook message.
#[derive(Debug, Clone)]
pub struct WebhookDelivery {
    /// URL of the receiver.
    pub url: String,
    /// Id of the message, the same for every attempt, so that the receiver recognises a repetition.
    pub id: String,
    /// Time of this attempt, in seconds since 1970.
    pub timestamp: i64,
    /// Body, a JSON document.
    pub body: Vec<u8>,
}

impl Runtime {
    /// Posts a message, signed when there is a secret. An answer of 2xx is a success; nothing is repeated here.
    ///
    /// # Errors
    /// Returns the reason why it was not accepted, and whether the same may succeed later.
    pub async fn deliver_webhook(
        &self,
        delivery: WebhookDelivery,
        secret: Option<&str>,
    ) -> Result<(), (Reaction, String)> {
        let WebhookDelivery { url, id, timestamp, body } = delivery;
        let give_up = |reason: String| (Reaction::GiveUp, reason);
        let mut request = Request::post(url.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("occopus/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id.as_str())
            .header("webhook-timestamp", timestamp);
        if let Some(secret) = secret {
            let signature = webhook_signature(secret, &id, timestamp, &body).map_err(give_up)?;
            request = request.header("webhook-signature", signature);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| give_up(error.to_string()))?;
        let endpoints = [url];
        let needs = ["endpoint".to_owned()];
        let subject = GrantSubject {
            plugin: "webhook",
            needs_network: &needs,
            // No plugin can have this name.
            operator: self.shared.grants.plugins.get("webhook"),
            endpoints: &endpoints,
            ..GrantSubject::default()
        };
        let grants = self.shared.grants.for_call(&subject);
        let answer = self.shared.services.http.send(request, &grants, None, &HTTP_LIMITS).await;
        let status = answer.map_err(|error| (Reaction::Retry, error.to_string()))?.status();
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS => Err((Reaction::Retry, format!("it answered {status}"))),
            status if status.is_server_error() => Err((Reaction::Retry, format!("it answered {status}"))),
            status => Err(give_up(format!("it answered {status}"))),
        }
    }
}

/// Outgoing HTTP of the program itself, to one endpoint that the operator named.
#[derive(Debug)]
pub struct TrustedClient {
    http: HttpClient,
    grants: CallGrants,
}

impl TrustedClient {
    /// Creates a client for the host of this URL only.
    pub fn new(name: &str, url: String) -> Self {
        Self { http: HttpClient::new(), grants: endpoint_grants(&Grants::default(), name, url) }
    }

    /// Sends a request, and returns the answer with all of its body.
    ///
    /// # Errors
    /// Fails if there is no complete answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.http.send(request.map(Full::new), &self.grants, None, &HTTP_LIMITS).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

fn endpoint_grants(grants: &Grants, name: &str, url: String) -> CallGrants {
    let (endpoints, needs) = ([url], ["endpoint".to_owned()]);
    grants.for_call(&GrantSubject {
        plugin: name,
        needs_network: &needs,
        endpoints: &endpoints,
        ..GrantSubject::default()
    })
}

fn webhook_signature(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Result<String, String> {
    let key = match secret.strip_prefix(BASE64_SECRET_PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| "its secret is not in base64".to_owned())?,
        None => secret.as_bytes().to_vec(),
    };
    let key = Zeroizing::new(key);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::webhook_signature;

    /// Uses the example of the specification's own libraries.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let body = br#"{"test": 2432232314}"#;
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signature = webhook_signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert!(webhook_signature("whsec_%", "id", 0, body).is_err());
    }
}
