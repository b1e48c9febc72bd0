//! The cookie by which the page signs in.

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};

use super::TokenText;

const NAME: &str = "occopus_token";
/// Seconds.
const AGE: u32 = 12 * 60 * 60;

/// Keeps the token in the browser for 12 hours, out of reach of scripts and of other web sites.
pub fn sign_in_cookie(token: &TokenText, tls: bool) -> HeaderValue {
    cookie(token.reveal(), AGE, tls)
}

/// Lets the browser forget the token.
pub fn sign_out_cookie() -> HeaderValue {
    cookie("", 0, false)
}

fn cookie(value: &str, age: u32, tls: bool) -> HeaderValue {
    let secure = if tls { "; Secure" } else { "" };
    let text = format!("{NAME}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}{secure}");
    // Tokens are letters, digits, `_` and `-`.
    let mut header = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}

/// The token in the cookies of a request.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let pairs =
        headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok()).flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == NAME).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_again_among_others() {
        let text = TokenText::random().unwrap();
        let set = sign_in_cookie(&text, true);
        let set = set.to_str().unwrap();
        assert!(set.ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200; Secure"), "{set}");
        assert!(!sign_in_cookie(&text, false).to_str().unwrap().contains("Secure"));
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "theme=dark".parse().unwrap());
        assert_eq!(token(&headers), None);
        let sent = format!("x_occopus_token=no; {}; a=b=c", set.split(';').next().unwrap());
        headers.append(COOKIE, sent.parse().unwrap());
        assert_eq!(token(&headers), Some(text.reveal()));
        assert!(!format!("{:?}", sign_in_cookie(&text, true)).contains("occ_"));
    }
}
