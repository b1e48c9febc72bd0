//! Checks of a section that need no engine.

use occopus_sdk::{Detail, Launch, NodeRequest};

use crate::section::{ORIGIN_HELP, Section};

/// Returns all mistakes that `create` would refuse without the engine.
pub(crate) fn check_request(request: &NodeRequest<Section>) -> Vec<Detail> {
    let section = &request.scope.section;
    let mut found = Vec::new();
    let mut add = |pointer: &str, message: String| found.push(Detail { pointer: pointer.to_owned(), message });
    if let Some(why) = wrong_endpoint(request) {
        add("/endpoint", why);
    }
    if let Err((pointer, why)) = section.image() {
        add(pointer, why);
    }
    if section.origin().is_none() {
        let origin = section.origin.as_deref().unwrap_or_default();
        add("/origin", format!("`{origin}` is not an origin of an image: {ORIGIN_HELP}"));
    }
    if let Err(fault) = Launch::read(&request.attributes) {
        add("", fault.message);
    }
    found
}

fn wrong_endpoint(request: &NodeRequest<Section>) -> Option<String> {
    let endpoint = request.scope.section.endpoint.trim();
    let Some(path) = endpoint.strip_prefix("unix:") else {
        return request.scope.call().url_for(endpoint).err().map(|fault| fault.message);
    };
    // The permission to use a socket is checked when it is used.
    let named = path.strip_prefix("//").map(|path| path.trim_matches('/')).filter(|path| {
        !path.is_empty() && !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
    });
    named.is_none().then(|| format!("`{endpoint}` is not an endpoint: a unix socket is written `unix:///PATH`"))
}
