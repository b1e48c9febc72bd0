//! `/ui/login`: where people give their token. The browser keeps a session, in a cookie that no script can read.

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
    refused: Option<String>,
}

impl Page {
    fn new(refused: Option<String>) -> Self {
        Self { shell: Shell::anonymous("Sign in"), refused }
    }
}

/// The page. Whoever has a token and is sent here has a bad one.
pub(super) async fn page(headers: HeaderMap) -> Response {
    let has_one = headers
        .get_all(COOKIE)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains("occopus_session=ocs_")));
    let refused = has_one.then(|| "You are not signed in any more. Sign in again.".to_owned());
    html(&Page::new(refused))
}

/// Takes the token.
pub(super) async fn sign_in<S: PageSource>(
    State(source): State<S>,
    peer: Option<Extension<Peer>>,
    body: Bytes,
) -> Response {
    let refused = |refusal: AccessError| {
        let text = match &refusal {
            AccessError::Unauthenticated => "This token is unknown, expired or revoked.".to_owned(),
            other => other.to_string(),
        };
        (refusal.status(), html(&Page::new(Some(text)))).into_response()
    };
    // A form without a token counts as one with a wrong one.
    let token = token(&body).unwrap_or_else(TokenText::malformed);
    match source.sign_in(&token, peer.map(|Extension(peer)| peer.address())).await {
        Ok(cookies) => (AppendHeaders(cookies.map(|cookie| (SET_COOKIE, cookie))), Redirect::to("/")).into_response(),
        Err(refusal) => refused(refusal),
    }
}

/// The token in a form. It is made of characters that forms leave as they are; around it there may be blanks.
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

/// Ends the session, and lets the browser forget it.
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
