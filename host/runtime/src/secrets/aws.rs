//! Signatures of AWS, version 4 (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>).
//!
//! The intermediate keys of such a signature are valid for a whole day, for any host of a service. So the guest gets
//! none of them: the host computes the signature of one request, to a host that it has found to be granted, at its own
//! time.

use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, Uri};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{CallSecrets, percent_encode};
use crate::call_clock::WorkBudget;

/// Prefix of the secret in the first key of a signature.
pub(crate) const AWS_KEY_PREFIX: &[u8] = b"AWS4";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Bytes of a name of a region or a service.
const MAX_NAME_BYTES: usize = 64;

/// A request to be signed.
#[derive(Debug, Clone)]
pub(crate) struct AwsRequest {
    /// HTTP method, such as `POST`.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Headers that are signed beside `host` and `x-amz-date`. Placeholders in values are filled in.
    pub headers: Vec<(String, String)>,
    /// SHA-256 of the body; empty leaves the body unsigned.
    pub payload: Vec<u8>,
    /// Region, such as `eu-west-1`.
    pub region: String,
    /// Service, such as `ec2`.
    pub service: String,
}

/// Parts of an `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AwsSignature {
    /// Value of `x-amz-date`.
    pub date: String,
    /// Scope, such as `20260131/eu-west-1/ec2/aws4_request`.
    pub scope: String,
    /// Names of the signed headers, with semicolons between.
    pub signed_headers: String,
    /// Signature in hexadecimal.
    pub signature: String,
}

impl CallSecrets {
    /// Signs a request that is sent to this `Host`. Returns none if there is no such value.
    ///
    /// # Errors
    /// Returns a message if the request is not valid, or its URL is meant to be signed for others.
    pub(crate) fn aws_sign(
        &self,
        field: &str,
        request: &AwsRequest,
        host: &str,
        now: Timestamp,
    ) -> Result<Option<AwsSignature>, String> {
        let names = [&request.region, &request.service];
        let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if names.iter().any(|name| name.is_empty() || name.len() > MAX_NAME_BYTES || !plain(name)) {
            return Err("the region or the service is not a valid name".to_owned());
        }
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/{}/{}/aws4_request", &date[..8], request.region, request.service);
        let (canonical, signed_headers) = self.canonical_request(request, host, &date)?;
        let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_slice())));
        let chain = scope.split('/').chain([to_sign.as_str()]).map(|text| text.as_bytes().to_vec());
        let chain = chain.collect::<Vec<_>>();
        // Some hundred bytes: it never waits.
        let signature = self.hmac_sha256(field, AWS_KEY_PREFIX, &chain, &mut WorkBudget::unlimited()).now_or_never();
        let signature = signature.and_then(Result::ok).flatten();
        Ok(signature.map(|signature| AwsSignature { date, scope, signed_headers, signature: hex(&signature) }))
    }

    /// Returns a request in its canonical form, in which it is signed, and the names of its headers.
    fn canonical_request(
        &self,
        request: &AwsRequest,
        host: &str,
        date: &str,
    ) -> Result<(Zeroizing<Vec<u8>>, String), String> {
        // The text has no line break of the guest's: the request that it states is the one that is signed.
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| "the method is not valid".to_owned())?;
        let url: Uri = request.url.parse().map_err(|error| format!("the URL is not valid: {error}"))?;
        let mut headers = vec![
            ("host".to_owned(), Zeroizing::new(host.as_bytes().to_vec())),
            ("x-amz-date".to_owned(), Zeroizing::new(date.as_bytes().to_vec())),
        ];
        for (name, value) in &request.headers {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| "the name of a header is not valid".to_owned())?;
            let value = self.fill(value.as_bytes()).unwrap_or_else(|| Zeroizing::new(value.as_bytes().to_vec()));
            if HeaderValue::from_bytes(&value).is_err() {
                return Err(format!("the value of the header `{name}` is not valid"));
            }
            headers.push((name.as_str().to_owned(), value));
        }
        headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        if headers.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("a header is to be signed twice; `host` and `x-amz-date` are added by the host".to_owned());
        }
        let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let payload = match request.payload.len() {
            0 => "UNSIGNED-PAYLOAD".to_owned(),
            32 => hex(&request.payload),
            _ => return Err("the payload is not a SHA-256".to_owned()),
        };
        let path = canonical_path(url.path(), request.service == "s3");
        let mut text = Zeroizing::new(format!("{method}\n{path}\n{}\n", canonical_query(url.query())?).into_bytes());
        for (name, value) in headers {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            text.extend_from_slice(&single_spaced(&value));
            text.push(b'\n');
        }
        text.extend_from_slice(format!("\n{names}\n{payload}").as_bytes());
        Ok((text, names))
    }
}

/// Returns the canonical path: its segments are escaped again, but for S3.
fn canonical_path(path: &str, as_it_is: bool) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    if as_it_is {
        return path.to_owned();
    }
    path.split('/').map(|segment| percent_encode(segment).to_string()).collect::<Vec<_>>().join("/")
}

/// Returns the canonical query: parameters by name and value. Refuses those by which a URL is signed for others, for
/// days.
fn canonical_query(query: Option<&str>) -> Result<String, String> {
    let mut parameters: Vec<_> = query
        .unwrap_or_default()
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .collect();
    let is_presigned = |name: &str| {
        let decoded = super::search::normalize_decoded(name.as_bytes());
        // Normalised: `-` and `+` are one.
        decoded.starts_with(b"x+amz+")
    };
    if parameters.iter().any(|(name, _)| is_presigned(name)) {
        return Err("a URL is not signed for others (`X-Amz-...` in its query)".to_owned());
    }
    parameters.sort_unstable();
    Ok(parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

/// Returns a value without white space around, and with single spaces inside.
fn single_spaced(value: &[u8]) -> Zeroizing<Vec<u8>> {
    let words = value.split(|byte| *byte == b' ' || *byte == b'\t').filter(|word| !word.is_empty());
    Zeroizing::new(words.collect::<Vec<_>>().join(&b' '))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
