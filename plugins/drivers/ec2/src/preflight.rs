//! Checks that need no cloud: what `create` would refuse, or Amazon would refuse whatever it has (forms, limits,
//! missing values). Other clouds with this API have ids of their own forms: of theirs, only what can't be sent is
//! refused.

use occopus_sdk::{Detail, NodeRequest, Text};

use crate::instances::tags;
use crate::section::Section;

/// Maximum length of user data before base64, by the API's own limit.
pub(crate) const MAX_USER_DATA_BYTES: usize = 16 << 10;
/// Amazon's limits of tags (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>).
const MAX_TAGS: usize = 50;
const MAX_TAG_KEY_CHARS: usize = 128;
const MAX_TAG_VALUE_CHARS: usize = 256;

/// Mistakes in the order of the section's keys.
#[derive(Default)]
struct Mistakes(Vec<Detail>);

impl Mistakes {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Detail { pointer: pointer.into(), message: message.into() });
    }
}

pub(crate) fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
    let section = &request.scope.section;
    let mut found = Mistakes::default();
    if request.scope.call().url_for(&section.endpoint).is_err() {
        found.add("/endpoint", "write the URL of the EC2 API, such as https://ec2.eu-west-1.amazonaws.com");
    }
    if !section.is_amazon() && section.regionname.trim().contains(|c: char| c.is_whitespace() || c == '/') {
        found.add("/regionname", format!("`{}` can't be part of a signature", section.regionname.trim()));
    }
    check_single_word(&mut found, "/image_id", "the id of an image, such as ami-0abcdef1234567890", &section.image_id);
    check_single_word(&mut found, "/instance_type", "a type, such as t3.small", &section.instance_type);
    if found.0.is_empty() && section.is_amazon() {
        check_amazon_ids(&mut found, section);
        check_amazon_tags(&mut found, request);
    }
    if let Some(message) = request.user_data.as_ref().and_then(|data| user_data_too_long(data)) {
        found.add("#user-data", format!("{message}: let the machine fetch large files itself"));
    }
    found.0
}

/// Returns a message if EC2 does not take user data of this length.
pub(crate) fn user_data_too_long(data: &[u8]) -> Option<String> {
    let length = data.len();
    (length > MAX_USER_DATA_BYTES)
        .then(|| format!("the user data has {length} bytes; EC2 takes {MAX_USER_DATA_BYTES} at most"))
}

/// Checks a value that is part of a request, or of its signature.
fn check_single_word(found: &mut Mistakes, pointer: &str, what: &str, value: &Text) {
    match value.given() {
        None => found.add(pointer, format!("it is empty; write {what}")),
        Some(value) if value.contains(char::is_whitespace) => {
            found.add(pointer, format!("there are spaces in `{value}`; write {what}"));
        }
        Some(_) => {}
    }
}

/// Checks ids against Amazon's own forms.
fn check_amazon_ids(found: &mut Mistakes, section: &Section) {
    let image = section.image_id.trim();
    if !is_id(image, "ami-") && !image.starts_with("resolve:ssm:") {
        found.add("/image_id", format!("`{image}` is not the id of an image: those look like ami-0abcdef1234567890"));
    }
    let kind = section.instance_type.trim();
    if !kind.split_once('.').is_some_and(|(family, size)| !family.is_empty() && !size.is_empty()) {
        found.add("/instance_type", format!("`{kind}` is not an instance type: those look like t3.small"));
    }
    if let Some(key) = section.key_name.as_ref().and_then(Text::given).filter(|key| !key.is_ascii() || key.len() > 255)
    {
        found.add("/key_name", format!("`{key}` can't be the name of a key pair: up to 255 ASCII characters"));
    }
    for (index, group) in section.security_group_ids.iter().flatten().enumerate() {
        if let Some(group) = group.given().filter(|group| !is_id(group, "sg-")) {
            let message = format!(
                "`{group}` is not the id of a security group: those look like sg-0abcdef1234567890; names are not taken"
            );
            found.add(format!("/security_group_ids/{index}"), message);
        }
    }
    if let Some(subnet) = section.subnet_id.as_ref().and_then(Text::given).filter(|subnet| !is_id(subnet, "subnet-")) {
        found.add(
            "/subnet_id",
            format!("`{subnet}` is not the id of a subnet: those look like subnet-0abcdef1234567890"),
        );
    }
}

fn check_amazon_tags(found: &mut Mistakes, request: &NodeRequest<Section>) {
    let all = tags(request);
    if all.len() > MAX_TAGS {
        found.add("/tags", format!("they are {} with those of Occopus; EC2 takes {MAX_TAGS} at most", all.len()));
    }
    for (key, value) in request.scope.section.tags.iter().flatten().filter(|(key, _)| !key.starts_with("occopus.")) {
        let pointer = || format!("/tags/{}", key.replace('~', "~0").replace('/', "~1"));
        if key.is_empty() || key.chars().count() > MAX_TAG_KEY_CHARS || key.to_lowercase().starts_with("aws:") {
            found.add(
                pointer(),
                format!("a key of a tag has 1 to {MAX_TAG_KEY_CHARS} characters, and does not begin with `aws:`"),
            );
        }
        if value.chars().count() > MAX_TAG_VALUE_CHARS {
            found.add(pointer(), format!("a value of a tag has {MAX_TAG_VALUE_CHARS} characters at most"));
        }
    }
}

/// Returns true for a prefix such as `ami-` and 8 or 17 hexadecimal digits.
fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| matches!(rest.len(), 8 | 17) && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
