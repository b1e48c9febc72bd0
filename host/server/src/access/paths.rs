//! Paths that are different for who has no token.

use http::request::Parts;
use http::{Method, header};

/// Kinds of what everybody may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicPath {
    /// Whether the service lives and works.
    Health,
    /// A token is given.
    SignIn,
    /// Anything else.
    Other,
}

/// None for what not everybody may see.
pub(super) fn public_path(method: &Method, path: &str) -> Option<PublicPath> {
    let path = path.strip_suffix('/').unwrap_or(path);
    match path {
        "/healthz" | "/readyz" => Some(PublicPath::Health),
        "/ui/login" if *method == Method::POST => Some(PublicPath::SignIn),
        "/openapi.json" | "/docs" | "/ui/login" => Some(PublicPath::Other),
        _ => is_static(path).then_some(PublicPath::Other),
    }
}

/// The page's own files. No dots on the way, so that it is what it looks like.
fn is_static(path: &str) -> bool {
    path.strip_prefix("/ui/static/").is_some_and(|rest| rest.split('/').all(|part| part != ".." && part != "."))
}

/// Whether a person waits for a page, who can sign in.
pub(super) fn wants_page(request: &Parts) -> bool {
    let path = request.uri.path();
    let accepts = request.headers.get_all(header::ACCEPT);
    matches!(request.method, Method::GET | Method::HEAD)
        && (path == "/" || path == "/ui" || path.starts_with("/ui/"))
        && accepts.iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_paths_are_public() {
        let is_public = |path| public_path(&Method::GET, path).is_some();
        for path in ["/healthz", "/healthz/", "/openapi.json", "/docs", "/ui/login", "/ui/static/page.css"] {
            assert!(is_public(path), "{path}");
        }
        assert_eq!(public_path(&Method::POST, "/ui/login/"), Some(PublicPath::SignIn));
        assert_eq!(public_path(&Method::GET, "/readyz"), Some(PublicPath::Health));
        for path in
            ["/", "", "/healthz/x", "/docs/x", "/ui", "/ui/loginx", "/ui/static", "/ui/static/../../infrastructures"]
        {
            assert!(!is_public(path), "{path}");
        }
    }
}
