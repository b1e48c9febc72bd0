//! Paths that need no token, or that redirect a browser without one.

use http::request::Parts;
use http::{Method, header};

/// Kinds of paths that need no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicPath {
    /// Liveness and readiness of the service.
    Health,
    /// Submission of the sign-in form, with a token.
    SignIn,
    /// Any other public path.
    Other,
}

/// Returns the kind of a public path; `None` for a path that needs a token.
pub(super) fn public_path(method: &Method, path: &str) -> Option<PublicPath> {
    let path = path.strip_suffix('/').unwrap_or(path);
    match path {
        "/healthz" | "/readyz" => Some(PublicPath::Health),
        "/ui/login" if *method == Method::POST => Some(PublicPath::SignIn),
        "/openapi.json" | "/docs" | "/ui/login" => Some(PublicPath::Other),
        _ => is_static(path).then_some(PublicPath::Other),
    }
}

/// Returns true for the page's own files. Paths with `.` or `..` segments are not accepted, so that none leads elsewhere.
fn is_static(path: &str) -> bool {
    path.strip_prefix("/ui/static/").is_some_and(|rest| rest.split('/').all(|part| part != ".." && part != "."))
}

/// Returns true if a browser requests a page, so that it can be redirected to sign in.
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
