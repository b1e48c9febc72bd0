//! `/ui/login`: exchange of a token for a session, which the browser keeps in a cookie that scripts cannot read.

use askama::Template;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use http::StatusCode;
use http::header::{COOKIE, HeaderMap, SET_COOKIE};

use super::PageSource;
use super::shell::{Shell, html};
use crate::access::{AccessError, TokenText};
use crate::listen::Peer;

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    shell: Shell,
    error: Option<String>,
}

impl Page {
    fn new(error: Option<String>) -> Self {
        Self { shell: Shell::anonymous("Sign in"), error }
    }
}

/// Renders the page. A caller with a session cookie was redirected here since the session is no longer valid.
pub(super) async fn page(headers: HeaderMap) -> Response {
    let has_session = headers
        .get_all(COOKIE)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains("occopus_session=ocs_")));
    let error = has_session.then(|| "Your session has ended. Sign in again.".to_owned());
    html(&Page::new(error))
}

/// Begins a session with the token of a form, and redirects to `/`.
pub(super) async fn sign_in<S: PageSource>(
    State(source): State<S>,
    peer: Option<Extension<Peer>>,
    body: Bytes,
) -> Response {
    let reject = |error: AccessError| {
        let text = match &error {
            AccessError::Unauthenticated => "This token is unknown, expired or revoked.".to_owned(),
            other => other.to_string(),
        };
        (error.status(), html(&Page::new(Some(text)))).into_response()
    };
    // A form without a token counts as an attempt with a wrong one.
    let token = token(&body).unwrap_or_else(TokenText::malformed);
    match source.sign_in(&token, peer.map(|Extension(peer)| peer.address())).await {
        Ok(cookies) => (AppendHeaders(cookies.map(|cookie| (SET_COOKIE, cookie))), Redirect::to("/")).into_response(),
        Err(error) => reject(error),
    }
}

/// Returns the token in a form, without blanks around it. Tokens have only characters that forms do not encode.
fn token(body: &[u8]) -> Option<TokenText> {
    let body = std::str::from_utf8(body).ok()?;
    let value = body.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    let blank =
        |text: &str| ["+", "%20", "%0D", "%0A", "%09"].into_iter().find(|blank| text.ends_with(blank)).map(str::len);
    let mut value = value.trim_start_matches('+');
    while let Some(length) = blank(value) {
        value = &value[..value.len() - length];
    }
    TokenText::parse(value)
}

/// Ends the session, and removes its cookies from the browser.
pub(super) async fn sign_out<S: PageSource>(
    State(source): State<S>,
    headers: HeaderMap,
) -> Result<Response, AccessError> {
    let cookies = AppendHeaders(source.sign_out(&headers).await?.map(|cookie| (SET_COOKIE, cookie)));
    Ok((StatusCode::SEE_OTHER, cookies, Redirect::to("/ui/login")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_forms() {
        let text = format!("occ_0123456789ab_{}", "A".repeat(43));
        for body in [format!("token={text}"), format!("a=b&token=+{text}+%0D%0A"), format!("token={text}&x=y")] {
            assert_eq!(token(body.as_bytes()).expect("a token").reveal(), text, "{body}");
        }
        for body in [&b"token="[..], b"", b"\xff", b"token=occ_x", b"tokens=x"] {
            assert!(token(body).is_none());
        }
    }
}
