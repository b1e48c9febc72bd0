//! The cookie by which the page signs in. It has a session, and not the token. Browsers send cookies to every port of a host:
//! with TLS its name sees to it that only this host sets it, and only over TLS.

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};

use super::sessions::SESSION_TTL;
use super::{SessionText, TokenError};

const PLAIN_COOKIE: &str = "occopus_session";
/// RFC 6265bis, 4.1.3.2.
const TLS_COOKIE: &str = "__Host-occopus_session";
/// Older versions kept the token itself under this name.
const LEGACY_COOKIE: &str = "occopus_token";

/// Keeps the session in the browser, out of reach of scripts and of other web sites, and lets it forget what an older version
/// has kept there.
pub(super) fn session_cookies(session: &SessionText, tls: bool) -> Result<[HeaderValue; 2], TokenError> {
    Ok([
        set_cookie(cookie_name(tls), session.reveal(), SESSION_TTL.as_secs(), tls)?,
        set_cookie(LEGACY_COOKIE, "", 0, tls)?,
    ])
}

/// Lets the browser forget the session.
pub(super) fn expired_cookies(tls: bool) -> Result<[HeaderValue; 2], TokenError> {
    Ok([set_cookie(cookie_name(tls), "", 0, tls)?, set_cookie(LEGACY_COOKIE, "", 0, tls)?])
}

fn cookie_name(tls: bool) -> &'static str {
    if tls { TLS_COOKIE } else { PLAIN_COOKIE }
}

fn set_cookie(name: &str, value: &str, age: u64, tls: bool) -> Result<HeaderValue, TokenError> {
    let secure = if tls { "; Secure" } else { "" };
    let text = format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}{secure}");
    let mut header = HeaderValue::try_from(text).map_err(TokenError::secret)?;
    header.set_sensitive(true);
    Ok(header)
}

/// The session in the cookies of a request, as it was sent.
pub(super) fn session(headers: &HeaderMap, tls: bool) -> Option<&str> {
    let pairs =
        headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok()).flat_map(|text| text.split(';'));
    let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == cookie_name(tls)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_again_among_others() {
        let text = SessionText::parse(&format!("ocs_0123456789ab_{}", "A".repeat(43))).unwrap();
        for (tls, name) in [(true, "__Host-occopus_session="), (false, "occopus_session=")] {
            let [set, former] = session_cookies(&text, tls).unwrap();
            assert!(!format!("{set:?}").contains("AAAA"));
            let set = set.to_str().unwrap();
            assert!(
                set.starts_with(name) && set.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"),
                "{set}"
            );
            assert_eq!(set.ends_with("; Secure"), tls, "{set}");
            assert!(!set.contains("Domain"), "{set}");
            assert!(former.to_str().unwrap().starts_with("occopus_token=; "), "{former:?}");
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, "theme=dark".parse().unwrap());
            assert_eq!(session(&headers, tls), None);
            let sent = format!("x_{name}no; {}; a=b=c", set.split(';').next().unwrap());
            headers.append(COOKIE, sent.parse().unwrap());
            assert_eq!(session(&headers, tls), Some(text.reveal()));
            assert_eq!(session(&headers, !tls), None, "what is good without TLS is not with it");
        }
    }
}
