//! AWS Signature Version 4 (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>). The host signs: the
//! secret key stays with it, and so does every key that is made of it.

use occopus_sdk::http::Request;
use occopus_sdk::{AwsRequest, Credential, Encoding, Fault};
use sha2::{Digest, Sha256};

const SERVICE: &str = "ec2";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Adds the headers that sign a POST of a form.
pub(crate) fn sign(request: Request, credential: &Credential, region: &str) -> Result<Request, Fault> {
    let (access_key, secret_key) = (credential.require("accesskey")?, credential.require("secretkey")?);
    let token = credential.secret("session_token").map(|token| token.placeholder(Encoding::Plain));
    let mut headers = vec![("content-type".to_owned(), CONTENT_TYPE.to_owned())];
    headers.extend(token.map(|token| ("x-amz-security-token".to_owned(), token)));
    let signed = secret_key.aws_sign(&AwsRequest {
        method: "POST".to_owned(),
        url: request.url.clone(),
        headers: headers.clone(),
        payload: Sha256::digest(&request.body).to_vec(),
        region: region.to_owned(),
        service: SERVICE.to_owned(),
    })?;
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}",
        access_key.placeholder(Encoding::Plain),
        signed.scope,
        signed.signed_headers,
        signed.signature
    );
    let request = request.header("x-amz-date", signed.date).header("authorization", authorization);
    Ok(headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
}
