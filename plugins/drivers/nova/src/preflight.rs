//! Checks that need no cloud: what `create` would refuse, or Nova would refuse whatever it has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use occopus_sdk::{Detail, NodeRequest};

use crate::section::{Section, given};

/// Maximum length of user data in base64, by the API's own limit.
const MAX_USER_DATA_BYTES: usize = 65_535;
/// Maximum length of names, by the API's own limit.
const MAX_NAME_CHARS: usize = 255;

pub(crate) fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
    let section = &request.scope.section;
    let mut found = Vec::new();
    let mut add = |pointer: &str, message: String| found.push(Detail { pointer: pointer.to_owned(), message });
    if request.scope.call().url_for(&section.endpoint).is_err() {
        add("/endpoint", "write the URL of Keystone, such as https://cloud.example.com:5000/v3".to_owned());
    }
    if section.image_id.given().is_none() {
        add("/image_id", "it is empty; write the id or the name of an image".to_owned());
    }
    if section.flavor_name.given().is_none() {
        add("/flavor_name", "it is empty; write the id or the name of a flavor".to_owned());
    }
    let names = [("/server_name", section.server_name.as_ref()), ("/key_name", section.key_name.as_ref())];
    for (pointer, name) in names {
        if let Some(length) = given(name).map(|name| name.chars().count()).filter(|length| *length > MAX_NAME_CHARS) {
            add(pointer, format!("it has {length} characters; Nova takes {MAX_NAME_CHARS} at most"));
        }
    }
    if let Some(network) = given(section.network_id.as_ref()).filter(|network| !is_uuid(network)) {
        add("/network_id", format!("`{network}` is not the id of a network; Nova takes no names here"));
    }
    for (index, group) in section.security_groups.iter().flatten().enumerate() {
        if group.given().is_some_and(|group: &str| group.chars().count() > MAX_NAME_CHARS) {
            add(&format!("/security_groups/{index}"), format!("a name has {MAX_NAME_CHARS} characters at most"));
        }
    }
    if let Some(message) = request.user_data.as_ref().and_then(|data| user_data_too_long(&STANDARD.encode(data))) {
        add("#user-data", format!("{message}: let the machine fetch large files itself"));
    }
    found
}

/// Returns a message if Nova does not take user data of this length.
pub(crate) fn user_data_too_long(encoded: &str) -> Option<String> {
    let length = encoded.len();
    (length > MAX_USER_DATA_BYTES)
        .then(|| format!("the user data has {length} bytes in base64; Nova takes {MAX_USER_DATA_BYTES} at most"))
}

/// Returns true for a UUID as Nova reads it: dashes and braces do not count.
fn is_uuid(text: &str) -> bool {
    let text = text.trim_start_matches("urn:").trim_start_matches("uuid:").trim_matches(['{', '}']);
    let digits = text.bytes().filter(|byte| *byte != b'-');
    digits.clone().count() == 32 && digits.clone().all(|byte| byte.is_ascii_hexdigit())
}
