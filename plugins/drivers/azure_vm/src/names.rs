//! Names of what the driver makes. All follow from the ids of the instance and of the infrastructure.

use crate::section::{Section, given};

/// Beginning of the names of machines, networks and rules.
const PREFIX: &str = "occopus-";
/// Beginning of the names of parts of machines.
const PART_PREFIX: &str = "occ-";
/// Characters of an id that stands in a name as it is.
const MAX_ID_CHARS: usize = 36;
const UUID_DIGITS: usize = 32;
const MAX_LINUX_NAME: usize = 64;
const MAX_WINDOWS_NAME: usize = 15;

/// Returns the name of an instance's machine.
pub(crate) fn machine(instance: &str) -> String {
    format!("{PREFIX}{}", short(instance))
}

/// Returns the name of the parts of an instance's machine: its disk, its network card, its address.
pub(crate) fn part(infrastructure: &str, instance: &str) -> String {
    format!("{PART_PREFIX}{}.{}", compact(infrastructure), compact(instance))
}

/// Returns the infrastructure and the instance that a part belongs to. Azure adds to the names of network cards and
/// addresses.
pub(crate) fn owner_of_part(name: &str) -> Option<(String, String)> {
    let start = name.get(..PART_PREFIX.len())?;
    let rest = start.eq_ignore_ascii_case(PART_PREFIX).then(|| &name[PART_PREFIX.len()..])?;
    let (infrastructure, instance) = rest.split_once('.')?;
    let (infrastructure, instance) = (expanded(infrastructure), expanded(instance));
    (!infrastructure.is_empty() && !instance.is_empty()).then_some((infrastructure, instance))
}

/// Returns an id as it can stand in a name, a UUID without its hyphens: Azure takes 80 characters, and adds nine itself.
fn compact(id: &str) -> String {
    let plain: String = id.chars().filter(|letter| *letter != '-').collect();
    if is_uuid(&plain) && expanded(&plain).eq_ignore_ascii_case(id) { plain.to_ascii_lowercase() } else { short(id) }
}

/// Returns the id at the beginning of a text: a UUID with its hyphens, or the whole text.
fn expanded(text: &str) -> String {
    match text.get(..UUID_DIGITS).filter(|digits| is_uuid(digits)) {
        Some(digits) => {
            let lower = digits.to_ascii_lowercase();
            let parts = [&lower[..8], &lower[8..12], &lower[12..16], &lower[16..20], &lower[20..]];
            parts.join("-")
        }
        None => text.to_ascii_lowercase(),
    }
}

fn is_uuid(digits: &str) -> bool {
    digits.len() == UUID_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the instance of a machine of this name.
pub(crate) fn instance_of(machine: &str) -> Option<&str> {
    let start = machine.get(..PREFIX.len())?;
    start.eq_ignore_ascii_case(PREFIX).then(|| &machine[PREFIX.len()..]).filter(|rest| !rest.is_empty())
}

/// Returns the name of the network of an infrastructure at a location.
pub(crate) fn network(infrastructure: &str, place: &str) -> String {
    format!("{PREFIX}{}-{place}", short(infrastructure))
}

/// Returns the name of the rules of public machines with these ports open.
pub(crate) fn rules(infrastructure: &str, place: &str, ports: &[u16]) -> String {
    let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
    let digest = hash(&listed.join(","));
    format!("{}-{:08x}", network(infrastructure, place), digest >> 32)
}

/// Returns the infrastructure of a network of this name.
pub(crate) fn owner_of_network<'n>(name: &'n str, location: &str) -> Option<&'n str> {
    let place: String = location.chars().filter(|letter| !letter.is_whitespace()).collect();
    let rest = instance_of(name)?;
    let end = format!("-{place}");
    let start = rest.len().checked_sub(end.len())?;
    rest.get(start..).filter(|last| !place.is_empty() && last.eq_ignore_ascii_case(&end)).map(|_| &rest[..start])
}

/// Returns an id as it can stand in a name: itself, or a digest of it.
fn short(id: &str) -> String {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain && (1..=MAX_ID_CHARS).contains(&id.len()) {
        id.to_ascii_lowercase()
    } else {
        format!("{:016x}", hash(id))
    }
}

/// Computes the digest FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Returns the machine's name for itself: the user's, or that of the node with the end of the instance's id.
pub(crate) fn computer(section: &Section, node: &str, instance: &str) -> String {
    if let Some(name) = given(section.server_name.as_ref()) {
        return name.to_owned();
    }
    let (longest, digits) = if section.is_windows() { (MAX_WINDOWS_NAME, 8) } else { (MAX_LINUX_NAME, 12) };
    let letters: String =
        node.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let unique = short(instance).replace('-', "");
    let end = &unique[unique.len().saturating_sub(digits)..];
    let start: String = letters.trim_matches('-').chars().take(longest - end.len() - 1).collect();
    let start = start.trim_matches('-');
    if start.is_empty() { format!("vm-{end}") } else { format!("{start}-{end}") }
}

/// Returns what is wrong with a machine's name for itself; none if Azure takes it.
pub(crate) fn computer_mistake(name: &str, is_windows: bool) -> Option<String> {
    let longest = if is_windows { MAX_WINDOWS_NAME } else { MAX_LINUX_NAME };
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' && !is_windows;
    let system = if is_windows { "Windows" } else { "Linux" };
    if name.len() > longest {
        return Some(format!("`{name}` has {} characters; a name of {system} has {longest} at most", name.len()));
    }
    let has_good_ends = !name.starts_with(['-', '.']) && !name.ends_with(['-', '.']);
    if !name.bytes().all(is_good) || !has_good_ends {
        return Some(format!("`{name}` can't be the name of a machine: letters, digits and hyphens can"));
    }
    let is_number = is_windows && name.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("`{name}` is a number, which Windows does not take for a name"))
}
