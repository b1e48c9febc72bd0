//! Bodies of responses, within a limit.

use reqwest::Response;

use crate::failure::Failure;
use crate::service_error::ServiceError;

/// Size limit of an error response, in bytes: those of a service are shorter.
const MAX_PROBLEM_BYTES: usize = 4 << 20;

/// Reads the body of a response; none if it has more than `limit` bytes.
pub(super) async fn read_body(mut response: Response, limit: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// Reads an error response as a failure.
pub(super) async fn read_failure(response: Response) -> Failure {
    let status = response.status();
    let bytes = read_body(response, MAX_PROBLEM_BYTES).await.ok().flatten().unwrap_or_default();
    ServiceError::from_response(status, &bytes).into()
}
