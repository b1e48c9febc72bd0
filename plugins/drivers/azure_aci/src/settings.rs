//! Settings of a container group: the user's texts as values, with all mistakes that can be found without Azure.

use occopus_sdk::{Detail, Fault, Text};
use serde_json::Number;

use crate::names;
use crate::ports::Port;
use crate::section::{Section, given};

/// Maximum length of the name of a resource group.
const MAX_RESOURCE_GROUP_CHARS: usize = 90;
/// GPUs that Azure has retired.
const RETIRED_GPUS: [&str; 2] = ["K80", "P100"];
/// GPUs that a group can have.
const GPUS: [&str; 1] = ["V100"];
/// Characters that values and names of tags can't have.
const TAG_NAME_EXCLUDED: &str = "<>%&\\?/";
const MAX_TAG_NAME_CHARS: usize = 512;
const MAX_TAG_VALUE_CHARS: usize = 256;
/// Tags of a resource, with those of Occopus: three of the host, and the time.
const MAX_TAGS: usize = 50;
const OWN_TAGS: usize = 4;

/// Values that a group is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(crate) resource_group: String,
    pub(crate) location: String,
    pub(crate) image: String,
    pub(crate) os: &'static str,
    pub(crate) size: Size,
    pub(crate) network: Network,
    pub(crate) ports: Vec<Port>,
    pub(crate) placement: Placement,
    pub(crate) restart_policy: Option<&'static str>,
}

/// Size of the container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Size {
    pub(crate) cpu: Number,
    pub(crate) memory: Number,
    /// Kind and number.
    pub(crate) gpu: Option<(&'static str, u32)>,
}

/// Capacity that the group is placed on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Placement {
    pub(crate) is_spot: bool,
    pub(crate) zone: Option<String>,
}

/// Network that the group joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Network {
    Public,
    Private(Subnet),
}

/// Subnet of a private group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subnet {
    /// One of the infrastructure's own network.
    Own,
    /// One that is made in a network of the user.
    OwnIn { vnet: String },
    /// One of the user, in the resource group.
    Named { vnet: String, subnet: String },
    /// One of the user, by its id.
    ById(String),
}

/// Mistakes in the order in which they are found.
#[derive(Default)]
struct Mistakes(Vec<Detail>);

impl Mistakes {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Detail { pointer: pointer.into(), message: message.into() });
    }

    /// Takes a value out, or notes why there is none. `None` only if a mistake was noted.
    fn take<T>(&mut self, pointer: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|why| self.add(pointer, why)).ok()
    }
}

impl Settings {
    /// Reads a section.
    ///
    /// # Errors
    /// Returns all mistakes, each with its place in the section.
    pub(crate) fn read(section: &Section) -> Result<Self, Vec<Detail>> {
        let mut mistakes = Mistakes::default();
        let resource_group = mistakes.take("/resource_group", resource_group(&section.resource_group));
        let location = mistakes.take("/location", location(&section.location));
        let image = mistakes.take("/image", image(&section.image));
        let os = mistakes.take("/os_type", choice(&section.os_type, &["Linux", "Windows"], "`linux` or `windows`"));
        let size = size(section, &mut mistakes);
        let network = network(section, &mut mistakes);
        let ports = ports(section, &mut mistakes);
        let placement = placement(section, &mut mistakes);
        let policies = ["Always", "OnFailure", "Never"];
        let restart_policy =
            optional_choice(section.restart_policy.as_ref(), &policies, "`Always`, `OnFailure` or `Never`");
        let restart_policy = mistakes.take("/restart_policy", restart_policy);
        check_registry(section, &mut mistakes);
        check_tags(section, &mut mistakes);
        let (Some(resource_group), Some(location), Some(image), Some(os)) = (resource_group, location, image, os)
        else {
            return Err(mistakes.0);
        };
        let (Some(size), Some(network), Some(ports)) = (size, network, ports) else { return Err(mistakes.0) };
        let (Some(placement), Some(restart_policy)) = (placement, restart_policy) else { return Err(mistakes.0) };
        let settings = Self { resource_group, location, image, os, size, network, ports, placement, restart_policy };
        settings.check_together(&mut mistakes);
        if mistakes.0.is_empty() { Ok(settings) } else { Err(mistakes.0) }
    }

    /// Reads a section; the fault has all mistakes.
    ///
    /// # Errors
    /// `give-up` if there is a mistake.
    pub(crate) fn read_or_fault(section: &Section) -> Result<Self, Fault> {
        Self::read(section).map_err(|details| {
            let first =
                details.first().map(|detail| format!("{}: {}", detail.pointer, detail.message)).unwrap_or_default();
            let message = format!("the container group can't be made as it is described: {first}");
            Fault { details, ..Fault::give_up("azure.bad-section", message) }
        })
    }

    /// Returns true if the group has an address. Azure gives one only together with ports.
    pub(crate) fn has_address(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Checks values that exclude each other.
    fn check_together(&self, mistakes: &mut Mistakes) {
        if matches!(self.network, Network::Private(_)) && !self.has_address() {
            mistakes.add(
                "/ports",
                "Azure gives a private address only together with ports: write those on which the container listens",
            );
        }
        if self.placement.is_spot {
            if self.has_address() {
                mistakes.add("/ports", "Azure gives Spot groups no address: remove the ports, or `priority`");
            } else if matches!(self.network, Network::Private(_)) {
                mistakes
                    .add("/network_type", "a Spot group can't join a virtual network: write `public`, without ports");
            }
            if self.size.gpu.is_some() {
                mistakes.add("/gpu_type", "Spot groups have no GPUs");
            }
        }
        if self.size.gpu.is_some() && self.os != "Linux" {
            mistakes.add("/gpu_type", "only Linux groups have GPUs");
        }
    }
}

fn resource_group(text: &Text) -> Result<String, String> {
    let Some(name) = text.given() else { return Err("it is empty; write the name of a resource group".to_owned()) };
    let is_good = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | '(' | ')');
    if name.chars().count() > MAX_RESOURCE_GROUP_CHARS || !name.chars().all(is_good) || name.ends_with('.') {
        return Err(format!(
            "`{name}` can't be the name of a resource group: up to {MAX_RESOURCE_GROUP_CHARS} letters, digits and `-_.()`, not \
             ending in a dot"
        ));
    }
    Ok(name.to_owned())
}

fn location(text: &Text) -> Result<String, String> {
    let name = names::location(text);
    match !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(name),
        false => Err(format!("`{}` is not a location; those look like `westeurope`", text.trim())),
    }
}

fn image(text: &Text) -> Result<String, String> {
    match text.given() {
        None => Err("it is empty; write the name of an image, such as nginx:alpine".to_owned()),
        Some(image) if image.contains("://") => Err(format!("`{image}` is a URL; write the image without `https://`")),
        Some(image) if image.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err(format!("there are spaces in `{image}`; write the name of an image, such as nginx:alpine"))
        }
        Some(image) => Ok(image.to_owned()),
    }
}

fn size(section: &Section, mistakes: &mut Mistakes) -> Option<Size> {
    let cpu = mistakes.take("/cpu_cores", positive(&section.cpu_cores, "a number of cores, such as 1 or 0.5"));
    let memory = mistakes.take("/memory", positive(&section.memory, "a number of GB, such as 1.5"));
    let gpu = gpu(section, mistakes);
    Some(Size { cpu: cpu?, memory: memory?, gpu: gpu? })
}

/// Reads a number above zero; whole ones stay whole.
fn positive(text: &Text, what: &str) -> Result<Number, String> {
    let text = text.trim();
    if let Some(whole) = text.parse::<u32>().ok().filter(|whole| *whole > 0) {
        return Ok(whole.into());
    }
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0);
    number.and_then(Number::from_f64).ok_or_else(|| format!("`{text}` is not {what}"))
}

/// Reads the GPU; the outer `None` if there is a mistake.
#[allow(clippy::option_option, reason = "absent and wrong differ")]
fn gpu(section: &Section, mistakes: &mut Mistakes) -> Option<Option<(&'static str, u32)>> {
    let Some(kind) = given(section.gpu_type.as_ref()) else {
        if given(section.gpu_count.as_ref()).is_some() {
            mistakes.add("/gpu_count", "it counts nothing without `gpu_type`");
            return None;
        }
        return Some(None);
    };
    if let Some(retired) = RETIRED_GPUS.iter().find(|retired| retired.eq_ignore_ascii_case(kind)) {
        mistakes.add("/gpu_type", format!("Azure has retired the {retired} of container groups: write `V100`"));
        return None;
    }
    let kind = mistakes.take("/gpu_type", choice(&kind.into(), &GPUS, "`V100`"));
    let count = match given(section.gpu_count.as_ref()) {
        None => Some(1),
        Some(count) => {
            let number = count.parse::<u32>().ok().filter(|count| matches!(count, 1 | 2 | 4));
            mistakes
                .take("/gpu_count", number.ok_or_else(|| format!("`{count}` is not a number of GPUs: write 1, 2 or 4")))
        }
    };
    Some(Some((kind?, count?)))
}

fn network(section: &Section, mistakes: &mut Mistakes) -> Option<Network> {
    let kind = choice(&section.network_type, &["Public", "Private"], "`public` or `private`");
    if mistakes.take("/network_type", kind)? == "Public" {
        // The existing tool takes the names of a network for public groups, and does not use them. An id is new.
        if given(section.subnet_id.as_ref()).is_some() {
            mistakes.add("/subnet_id", "a public group joins no subnet: write `network_type: private`");
            return None;
        }
        return Some(Network::Public);
    }
    let [vnet, subnet, id] =
        [&section.vnet_name, &section.subnet_name, &section.subnet_id].map(|text| given(text.as_ref()));
    let subnet = match (vnet, subnet, id) {
        (None, None, None) => Subnet::Own,
        (Some(vnet), None, None) => Subnet::OwnIn { vnet: vnet.to_owned() },
        (Some(vnet), Some(subnet), None) => Subnet::Named { vnet: vnet.to_owned(), subnet: subnet.to_owned() },
        (None, None, Some(id)) if is_subnet_id(id) => Subnet::ById(id.to_owned()),
        (None, None, Some(id)) => {
            mistakes.add("/subnet_id", format!(
                "`{id}` is not the id of a subnet: those look like /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Network/\
                 virtualNetworks/NAME/subnets/NAME"
            ));
            return None;
        }
        (None, Some(_), None) => {
            mistakes.add("/subnet_name", "it says nothing without `vnet_name`");
            return None;
        }
        (_, _, Some(_)) => {
            mistakes.add("/subnet_id", "it takes the place of `vnet_name` and `subnet_name`: write one or the other");
            return None;
        }
    };
    for (pointer, name) in [("/vnet_name", vnet), ("/subnet_name", subnet_name(&subnet))] {
        if name.is_some_and(|name| !is_network_name(name)) {
            mistakes.add(pointer, "a name has up to 80 letters, digits and `-_.`, and begins with a letter or digit");
            return None;
        }
    }
    Some(Network::Private(subnet))
}

fn subnet_name(subnet: &Subnet) -> Option<&str> {
    match subnet {
        Subnet::Named { subnet, .. } => Some(subnet),
        Subnet::Own | Subnet::OwnIn { .. } | Subnet::ById(_) => None,
    }
}

fn is_network_name(name: &str) -> bool {
    let is_good = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    name.chars().count() <= 80 && name.chars().all(is_good) && name.starts_with(char::is_alphanumeric)
}

/// Returns true for the id of a subnet, in any case.
fn is_subnet_id(id: &str) -> bool {
    let parts: Vec<String> = id.trim_end_matches('/').split('/').map(str::to_ascii_lowercase).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let shape = matches!(
        parts.as_slice(),
        [
            "",
            "subscriptions",
            _,
            "resourcegroups",
            _,
            "providers",
            "microsoft.network",
            "virtualnetworks",
            _,
            "subnets",
            _
        ]
    );
    shape
        && parts
            .iter()
            .skip(1)
            .all(|part| !part.is_empty() && !part.contains(['?', '#', '%', ' ']) && !part.starts_with(".."))
}

fn ports(section: &Section, mistakes: &mut Mistakes) -> Option<Vec<Port>> {
    let mut ports = Vec::new();
    let mut is_good = true;
    for (index, text) in section.ports.iter().flatten().enumerate() {
        let pointer = format!("/ports/{index}");
        match mistakes.take(&pointer, Port::read(text)) {
            Some(port) if ports.contains(&port) => mistakes.add(pointer, format!("{} is there twice", text.trim())),
            Some(port) => {
                ports.push(port);
                continue;
            }
            None => {}
        }
        is_good = false;
    }
    is_good.then_some(ports)
}

fn placement(section: &Section, mistakes: &mut Mistakes) -> Option<Placement> {
    let priority = optional_choice(section.priority.as_ref(), &["Regular", "Spot"], "`Regular` or `Spot`");
    let priority = mistakes.take("/priority", priority);
    let zones = section.zones.as_deref().unwrap_or_default();
    if zones.len() > 1 {
        mistakes.add("/zones", "a container group is in one zone: write a list of one");
        return None;
    }
    let zone = zones.first().map(|zone| zone.trim().to_owned());
    if zone.as_deref().is_some_and(|zone| zone.is_empty() || !zone.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        mistakes.add("/zones/0", "it is not a zone; those are called 1, 2 and 3");
        return None;
    }
    Some(Placement { is_spot: priority? == Some("Spot"), zone })
}

fn check_registry(section: &Section, mistakes: &mut Mistakes) {
    let server = given(section.registry_server.as_ref());
    if let Some(server) = server.filter(|server| server.contains("://") || server.contains(['/', ' ', '@'])) {
        mistakes.add(
            "/registry_server",
            format!("`{server}` is not a server: write its name alone, such as myregistry.azurecr.io"),
        );
    }
    if let Some(identity) = given(section.registry_identity.as_ref()) {
        if server.is_none() {
            mistakes.add("/registry_identity", "it is for `registry_server`, which is missing");
        }
        if !identity.to_ascii_lowercase().contains("/providers/microsoft.managedidentity/userassignedidentities/") {
            mistakes
                .add("/registry_identity", format!("`{identity}` is not the id of a user-assigned managed identity"));
        }
    }
}

fn check_tags(section: &Section, mistakes: &mut Mistakes) {
    let Some(tags) = &section.tags else { return };
    if tags.len() + OWN_TAGS > MAX_TAGS {
        mistakes.add(
            "/tags",
            format!("they are {} with those of Occopus; Azure takes {MAX_TAGS} at most", tags.len() + OWN_TAGS),
        );
    }
    for (name, value) in tags {
        let pointer = || format!("/tags/{}", name.replace('~', "~0").replace('/', "~1"));
        if name.is_empty()
            || name.chars().count() > MAX_TAG_NAME_CHARS
            || name.contains(|c| TAG_NAME_EXCLUDED.contains(c))
        {
            mistakes.add(
                pointer(),
                format!("the name of a tag has up to {MAX_TAG_NAME_CHARS} characters, none of {TAG_NAME_EXCLUDED}"),
            );
        }
        if value.chars().count() > MAX_TAG_VALUE_CHARS {
            mistakes.add(pointer(), format!("the value of a tag has {MAX_TAG_VALUE_CHARS} characters at most"));
        }
    }
}

/// Returns the choice as Azure writes it.
fn choice(text: &Text, choices: &[&'static str], help: &str) -> Result<&'static str, String> {
    let found = choices.iter().find(|choice| choice.eq_ignore_ascii_case(text.trim()));
    found.copied().ok_or_else(|| format!("`{}` is not possible here: write {help}", text.trim()))
}

fn optional_choice(text: Option<&Text>, choices: &[&'static str], help: &str) -> Result<Option<&'static str>, String> {
    text.filter(|text| text.given().is_some()).map(|text| choice(text, choices, help)).transpose()
}
