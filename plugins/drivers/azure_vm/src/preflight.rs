//! Checks that need no cloud: what `create` would refuse, or Azure would refuse whatever it has.

use occopus_azure_arm::endpoint_mistake;
use occopus_sdk::{Detail, NodeRequest, Text};

use crate::names;
use crate::section::{Section, given};
use crate::tags;

/// Maximum length of user data before base64, by the API's own limit.
const MAX_USER_DATA_BYTES: usize = 65_535;
const MAX_GROUP_CHARS: usize = 90;
/// Names of users that Azure refuses.
const FORBIDDEN_USERS: &str = "administrator admin user user1 test user2 test1 user3 admin1 1 123 a actuser adm admin2 aspnet backup \
                               console david guest john owner root server sql support support_388945a0 sys test2 test3 user4 user5";

/// Mistakes in the order of the section's keys.
struct Mistakes(Vec<Detail>);

impl Mistakes {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Detail { pointer: pointer.into(), message: message.into() });
    }
}

pub(crate) fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
    let section = &request.scope.section;
    let mut found = Mistakes(Vec::new());
    match request.scope.call().url_for(&section.endpoint) {
        Ok(url) => {
            found.0.extend(endpoint_mistake(&url).map(|message| Detail { pointer: "/endpoint".to_owned(), message }))
        }
        Err(_) => found.add("/endpoint", "write https://management.azure.com, or the management host of your cloud"),
    }
    check_group(&mut found, section);
    check_words(&mut found, section);
    check_user(&mut found, section);
    check_name(&mut found, request);
    check_network(&mut found, section);
    check_spot(&mut found, section);
    tags::check(request, &mut found.0);
    if let Some(message) = request.user_data.as_ref().and_then(|data| user_data_too_long(data)) {
        found.add("#user-data", format!("{message}: let the machine fetch large files itself"));
    }
    if section.wants_public_address() && found.0.is_empty() {
        warn_of_open_ports(request);
    }
    found.0
}

/// Returns a message if Azure does not take user data of this length.
pub(crate) fn user_data_too_long(data: &[u8]) -> Option<String> {
    let length = data.len();
    (length > MAX_USER_DATA_BYTES)
        .then(|| format!("the user data has {length} bytes; Azure takes {MAX_USER_DATA_BYTES} at most"))
}

fn check_group(found: &mut Mistakes, section: &Section) {
    let group = section.group();
    let is_good = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | '(' | ')');
    let length = group.chars().count();
    if group.is_empty() {
        found.add("/resource_group", "it is empty; write the name of a resource group");
    } else if length > MAX_GROUP_CHARS || !group.chars().all(is_good) || group.ends_with('.') {
        let message = format!(
            "`{group}` can't be the name of a resource group: up to {MAX_GROUP_CHARS} letters, digits, `-`, `_`, `.`, `(` and \
             `)`, and no `.` at the end"
        );
        found.add("/resource_group", message);
    }
}

/// Checks values that are names in Azure's catalogue.
fn check_words(found: &mut Mistakes, section: &Section) {
    let place = section.place();
    if place.is_empty() || !place.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        found.add("/location", format!("`{}` is not a location: those look like westeurope", section.location.trim()));
    }
    let words: [(&str, &str, &Text); 5] = [
        ("/vm_size", "a size, such as Standard_B1s", &section.vm_size),
        ("/publisher", "the publisher of an image, such as Canonical", &section.publisher),
        ("/offer", "the offer of an image, such as ubuntu-24_04-lts", &section.offer),
        ("/sku", "the SKU of an image, such as server", &section.sku),
        ("/version", "the version of an image, such as latest", &section.version),
    ];
    for (pointer, what, value) in words {
        match value.given() {
            None => found.add(pointer, format!("it is empty; write {what}")),
            Some(value) if value.contains(char::is_whitespace) => {
                found.add(pointer, format!("there are spaces in `{value}`; write {what}"));
            }
            Some(_) => {}
        }
    }
    for (index, zone) in section.zones.iter().flatten().enumerate() {
        if !matches!(zone.trim(), "1" | "2" | "3") {
            found.add(format!("/zones/{index}"), format!("`{}` is not a zone: those are 1, 2 and 3", zone.trim()));
        }
    }
    if section.zones.as_ref().is_some_and(|zones| zones.len() > 1) {
        found.add("/zones", "a machine is in one zone; write a list of one, or several implementations");
    }
}

fn check_user(found: &mut Mistakes, section: &Section) {
    let user = section.username.trim();
    let longest = if section.is_windows() { 20 } else { 64 };
    if FORBIDDEN_USERS.split_whitespace().any(|forbidden| forbidden == user.to_ascii_lowercase()) {
        found.add("/username", format!("Azure does not take `{user}` for a user; write another name"));
    } else if user.is_empty() || user.len() > longest || user.ends_with('.') {
        found.add("/username", format!("a user's name has 1 to {longest} characters, and no `.` at its end"));
    }
    if let Some(password) = given(section.password.as_ref()) {
        check_password(found, section, password);
    }
    match given(section.ssh_key_data.as_ref()) {
        Some(_) if section.is_windows() => {
            found.add("/ssh_key_data", "Windows takes no SSH key here; write a `password`");
        }
        Some(key) if !key.starts_with("ssh-rsa ") && !key.starts_with("ssh-ed25519 ") => {
            found.add(
                "/ssh_key_data",
                "this is not a public key that Azure takes: those begin with `ssh-rsa` or `ssh-ed25519`",
            );
        }
        Some(_) => {}
        None if given(section.password.as_ref()).is_none() => {
            found.add("/password", "the user needs a password, or a key in `ssh_key_data`");
        }
        None => {}
    }
}

/// Checks a password without repeating it.
fn check_password(found: &mut Mistakes, section: &Section, password: &str) {
    let (shortest, longest) = if section.is_windows() { (8, 123) } else { (6, 72) };
    let length = password.chars().count();
    let kinds = [
        password.contains(|letter: char| letter.is_lowercase()),
        password.contains(|letter: char| letter.is_uppercase()),
        password.contains(|letter: char| letter.is_ascii_digit()),
        password.contains(|letter: char| !letter.is_alphanumeric()),
    ];
    if !(shortest..=longest).contains(&length) || kinds.into_iter().filter(|has| *has).count() < 3 {
        let message = format!(
            "Azure takes passwords of {shortest} to {longest} characters, of three kinds: lower case, upper case, digits, others"
        );
        found.add("/password", message);
    }
}

fn check_name(found: &mut Mistakes, request: &NodeRequest<Section>) {
    let section = &request.scope.section;
    if let Some(name) = given(section.server_name.as_ref())
        && let Some(message) = names::computer_mistake(name, section.is_windows())
    {
        found.add("/server_name", message);
    }
}

fn check_network(found: &mut Mistakes, section: &Section) {
    let is_given = |key: Option<&Text>| given(key).is_some();
    if is_given(section.subnet_name.as_ref()) && !is_given(section.vnet_name.as_ref()) {
        found.add("/subnet_name", "write `vnet_name` too: the network that has this subnet");
    }
    if is_given(section.nic_name.as_ref()) && (section.wants_public_address() || is_given(section.vnet_name.as_ref())) {
        found.add("/nic_name", "a card that exists has its own network and address; leave out the others");
    }
    if !section.wants_public_address() && section.open_ports.as_ref().is_some_and(|ports| !ports.is_empty()) {
        found.add("/open_ports", "only a machine with `public_ip_needed: true` has ports to open");
    }
    if let Some(index) = section.open_ports.iter().flatten().position(|port| *port == 0) {
        found.add(format!("/open_ports/{index}"), "0 is not a port");
    }
}

fn check_spot(found: &mut Mistakes, section: &Section) {
    if section.is_spot() {
        return;
    }
    if section.eviction_policy.is_some() {
        found.add("/eviction_policy", "only a machine with `priority: Spot` is taken away");
    }
    if section.max_price.is_some() {
        found.add("/max_price", "only a machine with `priority: Spot` has a price of its own");
    }
}

fn warn_of_open_ports(request: &NodeRequest<Section>) {
    let section = &request.scope.section;
    let ports = section.public_ports();
    let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
    let message = match listed.as_slice() {
        [] => "the machine answers pings of the whole internet, and nothing else; `open_ports` opens ports".to_owned(),
        [one] => {
            format!("port {one} of the machine, and ping, are open to the whole internet; `open_ports` opens more")
        }
        several => format!("ports {} of the machine, and ping, are open to the whole internet", several.join(", ")),
    };
    request.scope.call().warn("azure_vm.open-ports", &message, "/public_ip_needed");
}
