//! AWS Signature Version 4 (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>). The secret key
//! stays with the host, which computes the HMACs.

use std::fmt::Write as _;

use jiff::Timestamp;
use occopus_sdk::http::Request;
use occopus_sdk::{Credential, Encoding, Fault};
use sha2::{Digest, Sha256};

const SERVICE: &str = "ec2";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Adds the headers that sign a POST of a form.
pub(crate) fn signed(
    request: Request,
    credential: &Credential,
    region: &str,
    now: Timestamp,
) -> Result<Request, Fault> {
    let (access_key, secret_key) = (credential.require("accesskey")?, credential.require("secretkey")?);
    let token = credential.secret("session_token");
    let (host, path) = host_and_path(&request.url);
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = &time[..8];
    let payload = hex(&Sha256::digest(&request.body));

    let before = format!("POST\n{path}\n\ncontent-type:{CONTENT_TYPE}\nhost:{host}\nx-amz-date:{time}\n");
    let (canonical_request, headers) = match &token {
        None => {
            let headers = "content-type;host;x-amz-date";
            (Sha256::digest(format!("{before}\n{headers}\n{payload}")).to_vec(), headers)
        }
        Some(token) => {
            let headers = "content-type;host;x-amz-date;x-amz-security-token";
            let (before, after) = (format!("{before}x-amz-security-token:"), format!("\n\n{headers}\n{payload}"));
            (token.sha256(before.as_bytes(), after.as_bytes()), headers)
        }
    };
    let scope = format!("{date}/{region}/{SERVICE}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&canonical_request));
    let chain = [date, region, SERVICE, "aws4_request", &to_sign].map(|message| message.as_bytes().to_vec());
    let signature = hex(&secret_key.hmac_sha256(b"AWS4", &chain));

    let access_key = access_key.placeholder(Encoding::Plain);
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={headers}, Signature={signature}");
    let request =
        request.header("content-type", CONTENT_TYPE).header("x-amz-date", time).header("authorization", authorization);
    Ok(match token {
        Some(token) => request.header("x-amz-security-token", token.placeholder(Encoding::Plain)),
        None => request,
    })
}

/// The `Host` header that the client will send, and the path.
fn host_and_path(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    (host.strip_suffix(default_port).unwrap_or(host), path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::host_and_path;

    #[test]
    fn what_is_signed_is_what_the_client_sends() {
        for (url, host, path) in [
            ("https://ec2.eu-west-1.amazonaws.com/", "ec2.eu-west-1.amazonaws.com", "/"),
            ("https://cloud:443/api/", "cloud", "/api/"),
            ("http://cloud:80", "cloud", "/"),
            ("http://cloud:4567/", "cloud:4567", "/"),
            ("https://[::1]:8443/a", "[::1]:8443", "/a"),
        ] {
            assert_eq!(host_and_path(url), (host, path), "{url}");
        }
    }
}
