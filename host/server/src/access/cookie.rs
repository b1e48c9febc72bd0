//! The session cookie of the page. It holds a session, and not the token. Browsers send cookies to every port of a host:
//! with TLS the `__Host-` prefix of its name ensures that only this host can set it, and only over TLS.

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};

use super::sessions::SESSION_TTL;
use super::{SessionText, TokenError};

const PLAIN_COOKIE: &str = "occopus_session";
/// Cookie name with TLS; its prefix is defined in RFC 6265bis, 4.1.3.2.
const TLS_COOKIE: &str = "__Host-occopus_session";
/// Cookie in which older versions kept the token itself.
const LEGACY_COOKIE: &str = "occopus_token";

/// Returns the cookies of a sign-in: one that keeps the session in the browser, out of reach of scripts and of other web
/// sites, and one that deletes the cookie of older versions.
pub(super) fn session_cookies(session: &SessionText, tls: bool) -> Result<[HeaderValue; 2], TokenError> {
    Ok([
        set_cookie(cookie_name(tls), session.reveal(), SESSION_TTL.as_secs(), tls)?,
        set_cookie(LEGACY_COOKIE, "", 0, tls)?,
    ])
}

/// Returns the cookies of a sign-out, which delete the session from the browser.
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

/// Returns the session in the cookies of a request, as it was sent.
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
            let [set, legacy] = session_cookies(&text, tls).unwrap();
            assert!(!format!("{set:?}").contains("AAAA"));
            let set = set.to_str().unwrap();
            assert!(
                set.starts_with(name) && set.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"),
                "{set}"
            );
            assert_eq!(set.ends_with("; Secure"), tls, "{set}");
            assert!(!set.contains("Domain"), "{set}");
            assert!(legacy.to_str().unwrap().starts_with("occopus_token=; "), "{legacy:?}");
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, "theme=dark".parse().unwrap());
            assert_eq!(session(&headers, tls), None);
            let sent = format!("x_{name}no; {}; a=b=c", set.split(';').next().unwrap());
            headers.append(COOKIE, sent.parse().unwrap());
            assert_eq!(session(&headers, tls), Some(text.reveal()));
            assert_eq!(session(&headers, !tls), None, "a cookie for plain HTTP is not accepted with TLS");
        }
    }
}
