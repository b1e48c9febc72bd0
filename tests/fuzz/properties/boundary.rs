//! Input of a guest to the host: it is kept within bounds and without secrets, reaches only what is granted, or is refused with
//! a message.
//!
//! The input has fields with `\u{1e}` between them; the first one names their kind.

use std::net::IpAddr;

use occopus_runtime::fuzz::{Headers, Host, describe, target};

const ENDPOINT: &str = "https://cloud.example.org:8443/v1";
const AUTHORITY: &str = "cloud.example.org:8443";
/// Markers in inputs, for the secret that the guest has obtained in some way, and for a placeholder.
const SECRET: &str = "correct-horse-9";
const PLACEHOLDER: &str = "PLACEHOLDER";
/// Bounds of the contract, with the marker of text that was cut off.
const HANDLE: usize = 4 << 10;
const ADDRESSES: usize = 64;
const ATTRIBUTES: usize = 256;
const MESSAGE: usize = (4 << 10) + 8;
const DETAILS: usize = 32;

/// Passes the fields to the host.
pub(crate) fn hold(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut fields = text.split('\u{1e}').map(str::to_owned);
    let kind = fields.next().unwrap_or_default();
    let host = Host::new(ENDPOINT, SECRET);
    match kind.trim() {
        "machine" => machine(&host, fields),
        "fault" => fault(&host, fields),
        "describe" => description(fields),
        "request" => request(&host, fields),
        "sign" => sign(&host, fields),
        "token" => token(&host, fields),
        _ => words(&host, &text),
    }
}

fn machine(host: &Host, mut fields: impl Iterator<Item = String>) {
    let handle = fields.next().unwrap_or_default();
    let phase: u8 = fields.next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let message = fields.next();
    let (mut addresses, mut attributes) = (Vec::new(), Vec::new());
    for field in fields {
        match field.split_once('=') {
            Some((name, value)) => attributes.push((name.to_owned(), value.to_owned())),
            None => addresses.push((field, phase.is_multiple_of(2))),
        }
    }
    let kept = host.machine((2, handle), phase, addresses, attributes, message);
    let Ok(kept) = kept else { return };
    assert!(kept.handle.data.len() <= HANDLE && kept.addresses.len() <= ADDRESSES);
    assert!(kept.attributes.len() <= ATTRIBUTES && kept.message.as_ref().is_none_or(|text| text.len() <= MESSAGE));
    for address in &kept.addresses {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-' | b'_');
        assert!(address.value.bytes().all(is_plain), "{:?} is an address", address.value);
        let is_guarded = |ip: IpAddr| ip.is_loopback() || matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
        assert!(!address.value.parse().is_ok_and(is_guarded), "{}", address.value);
    }
    tells_nothing(&format!("{kept:?}"));
}

fn fault(host: &Host, mut fields: impl Iterator<Item = String>) {
    let (code, message) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let delay = fields.next().and_then(|text| text.parse().ok());
    let details = fields.map(|field| match field.split_once('=') {
        Some((pointer, message)) => (pointer.to_owned(), message.to_owned()),
        None => (String::new(), field),
    });
    let kept = host.fault(code, message, delay, details.collect());
    assert!(kept.message.len() <= MESSAGE && kept.details.len() <= DETAILS);
    assert!(kept.details.iter().all(|detail| detail.message.len() <= MESSAGE));
    tells_nothing(&format!("{kept:?}"));
}

fn description(mut fields: impl Iterator<Item = String>) {
    let mut next = || fields.next().unwrap_or_default();
    let words = [next(), next(), next(), next()];
    let (section, credentials) = (next(), next());
    let (network, interfaces) = fields.partition(|field| field.contains([':', '.']) || field == "endpoint");
    let shown = words.clone();
    match describe(words, &section, &credentials, network, interfaces) {
        Ok(()) => {
            let is_clean = |text: &String| !text.chars().any(|letter| letter.is_control() || letter == '\u{202e}');
            assert!(shown.iter().all(is_clean), "{shown:?}");
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

fn request(host: &Host, mut fields: impl Iterator<Item = String>) {
    let mut next = || fields.next().unwrap_or_default().replace(PLACEHOLDER, &host.placeholder());
    let (method, url, body) = (next(), next(), next());
    let headers: Headers = fields
        .filter_map(|field| {
            let field = field.replace(PLACEHOLDER, &host.placeholder());
            let (name, value) = field.split_once(':')?;
            Some((name.to_owned(), value.trim().as_bytes().to_vec()))
        })
        .collect();
    let Ok(leaving) = host.request(&method, &url, &headers, body.into_bytes()) else { return };
    assert_eq!(leaving.authority, AUTHORITY, "{leaving:?}");
    let lengths = leaving.headers.iter().filter(|(name, _)| name == "content-length").count();
    assert!(lengths <= 1, "{leaving:?}");
    let own = ["connection", "transfer-encoding", "upgrade", "te", "trailer", "host", "proxy-authorization"];
    assert!(!leaving.headers.iter().any(|(name, _)| own.contains(&name.as_str())), "{leaving:?}");
}

fn sign(host: &Host, mut fields: impl Iterator<Item = String>) {
    let mut next = || fields.next().unwrap_or_default();
    let (method, url, region, service, payload) = (next(), next(), next(), next(), next().into_bytes());
    let headers = fields.filter_map(|field| field.split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())));
    let headers = headers.collect();
    if let Err(why) = host.sign([method, url, region, service], headers, payload) {
        assert!(!why.is_empty());
    }
}

fn token(host: &Host, mut fields: impl Iterator<Item = String>) {
    let key = fields.next().unwrap_or_default();
    let lifetime = fields.next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let value = fields.next().unwrap_or_default().into_bytes();
    if let Some(kept) = host.token(&key, value.clone(), lifetime) {
        assert_eq!(kept, value);
    }
}

/// Passes the text to the host as a log line, as an endpoint and as a grant.
fn words(host: &Host, text: &str) {
    for warning in host.log(text) {
        tells_nothing(&format!("{warning:?}"));
    }
    if let Err(fault) = host.url_for(text) {
        assert!(!fault.message.is_empty());
    }
    if let Some(written) = target(text) {
        assert_eq!(target(&written).as_ref(), Some(&written), "it is read as it is written");
    }
}

fn tells_nothing(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}
