//! Images that the engine does not have yet.

use occopus_sdk::http::{HttpError, Response, encoded};
use occopus_sdk::{Fault, Reaction};
use serde::Deserialize;

use crate::engine::{Engine, error_text, message_of, truncate};
use crate::image_reference::Image;
use crate::section::Origin;

/// Makes the engine pull or import the image. The engine stops when the connection ends, so that the call may be
/// repeated after a lost answer.
pub(crate) fn pull(engine: &Engine<'_>, origin: &Origin<'_>, image: &Image) -> Result<(), Fault> {
    let call = engine.scope.call();
    let (name, tag) = (encoded(&image.name), encoded(&image.version));
    let path = match origin {
        Origin::Local => return Err(missing_image_fault(engine, image)),
        Origin::Registry => {
            call.progress("pulling image", Some(&image.to_string()));
            format!("/images/create?fromImage={name}&tag={tag}")
        }
        Origin::Url(url) => {
            call.progress("importing image", Some(url));
            format!("/images/create?fromSrc={}&repo={name}&tag={tag}", encoded(url))
        }
    };
    // Silence is normal while the engine unpacks a large layer.
    let request = engine.post(&path).timeouts(std::time::Duration::from_secs(10), call.remaining());
    let response = request.send().map_err(|error| engine.connection_fault(error, HttpError::of_reading))?;
    if response.is_success() {
        // The engine answers 200 before it begins; the outcome is in the stream of progress.
        return match stream_error(&response) {
            None => Ok(()),
            Some(error) => Err(pull_fault(engine, origin, image, error, !matches!(origin, Origin::Url(_)))),
        };
    }
    // A refusal without an engine's words comes from something in between.
    let may_pass = response.status >= 500 || response.status == 429 || message_of(&response).is_none();
    let fault = pull_fault(engine, origin, image, error_text(&response), may_pass);
    Err(match (response.status, response.retry_after()) {
        (401 | 403, _) => Fault { reaction: Reaction::Denied, ..fault },
        (_, Some(delay)) => fault.retry_after(delay),
        _ => fault,
    })
}

/// Returns the fault for an image that does not exist.
pub(crate) fn missing_image_fault(engine: &Engine<'_>, image: &Image) -> Fault {
    let section = &engine.scope.section;
    let message = format!("the Docker engine at {} has no image `{image}`", section.endpoint);
    let hint = match section.origin() {
        Some(Origin::Local) => "no such image; with `origin: local` it must be there already",
        _ => "no such image, although fetching it did not fail",
    };
    Fault::give_up("docker.no-such-image", message).at("/image", hint)
}

fn pull_fault(engine: &Engine<'_>, origin: &Origin<'_>, image: &Image, why: String, may_pass: bool) -> Fault {
    let section = &engine.scope.section;
    let (code, doing, pointer) = match origin {
        Origin::Url(url) => ("docker.import-failed", format!("import an image from {url}"), "/origin"),
        Origin::Registry | Origin::Local => ("docker.pull-failed", format!("pull the image `{image}`"), "/image"),
    };
    let message = format!("the Docker engine at {} can't {doing}: {why}", section.endpoint);
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| why.contains(phrase));
    let fault = if says(&["no space left on device"]) {
        Fault::no_capacity(code, message)
    } else if says(&["unauthorized", "access denied", "authentication required"]) {
        // Registries answer so for images that do not exist, too.
        Fault::denied(code, message)
    } else if may_pass
        && !says(&["unsupported protocol scheme", "manifest unknown", "no matching manifest", "not found"])
    {
        Fault::retry(code, message)
    } else {
        Fault::give_up(code, message)
    };
    fault.at(pointer, why)
}

/// Returns the first error in a stream of progress: JSON objects, one after the other.
fn stream_error(response: &Response) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Progress {
        error: Option<String>,
        error_detail: Option<Detail>,
    }
    #[derive(Deserialize)]
    struct Detail {
        message: Option<String>,
    }
    let lines = serde_json::Deserializer::from_slice(&response.body).into_iter::<Progress>();
    let errors = lines.map_while(Result::ok).filter_map(|line| {
        let detail = line.error_detail.and_then(|detail| detail.message);
        detail.or(line.error)
    });
    errors.map(|error| truncate(&error)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(body: &str) -> Option<String> {
        stream_error(&Response { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() })
    }

    #[test]
    fn an_error_within_a_success_is_seen() {
        // The answer of Docker 20.10 for a file that is not a tarball.
        let broken = "{\"status\":\"Downloading from http://127.0.0.1:18999/bad.tar\"}\r\n{}\r\n\
            {\"errorDetail\":{\"message\":\"Error processing tar file(exit status 1): unexpected EOF\"},\
            \"error\":\"Error processing tar file(exit status 1): unexpected EOF\"}\r\n";
        assert_eq!(stream(broken).unwrap(), "Error processing tar file(exit status 1): unexpected EOF");
        assert_eq!(stream("{\"error\":\"short\"}").unwrap(), "short");
        assert_eq!(
            stream("{\"status\":\"Importing\",\"progressDetail\":{\"current\":1}}\n{\"status\":\"sha256:5b\"}\n"),
            None
        );
        assert_eq!(stream(""), None);
    }
}
