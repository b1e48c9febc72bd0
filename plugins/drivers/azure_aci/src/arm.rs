//! Azure Resource Manager, as this driver uses it.

use std::time::Duration;

use occopus_azure_arm::{Arm, Call, Effect, Purpose, Subject};
use occopus_sdk::{Fault, Reaction, Scope};
use serde_json::Value;

use crate::group::Group;
use crate::handle::Reference;
use crate::section::Section;

/// Version of the interface of container groups: that of Microsoft's own SDK.
pub(crate) const API_VERSION: &str = "2023-05-01";
/// Code of the fault of a group that Azure may not show yet.
pub(crate) const TOO_YOUNG_CODE: &str = "azure.too-young";
/// Time for which a deletion is remembered.
const DELETION_KEPT_FOR: Duration = Duration::from_secs(60);

/// Logs in.
pub(crate) fn log_in(scope: &Scope<Section>, purpose: Purpose) -> Result<Arm<'_>, Fault> {
    Arm::new(scope, &scope.section.endpoint, purpose, pointer)
}

/// Returns the key of the section that a subject of Azure is.
fn pointer(subject: Subject) -> &'static str {
    match subject {
        Subject::Endpoint => "/endpoint",
        Subject::Group => "/resource_group",
        Subject::Location => "/location",
        Subject::Size => "/cpu_cores",
        Subject::Image => "/image",
        Subject::Network => "/vnet_name",
        Subject::Subnet => "/subnet_name",
        Subject::Zones => "/zones",
        Subject::Priority => "/priority",
        Subject::Identity => "/registry_identity",
        Subject::Tags => "/tags",
        Subject::Ports => "/ports",
        Subject::OperatingSystem => "/os_type",
        Subject::Gpu => "/gpu_type",
        Subject::Registry => "/registry_server",
        _ => "",
    }
}

/// Reads a group with its instance view; none if Azure says of this group, or of its resource group, that it does not exist.
pub(crate) fn read_group(arm: &Arm<'_>, reference: &Reference) -> Result<Option<Group>, Fault> {
    match arm.read::<Group>(&Call::get(&reference.path(), API_VERSION)) {
        Ok(group) if reference.is_id(&group.id) => Ok(Some(group)),
        Ok(_) => Err(arm.unreadable(Effect::None, "it is about another resource")),
        Err(fault) if fault.reaction == Reaction::NotFound => {
            require_absence(fault, reference)?;
            require_age(arm, reference)?;
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Checks that a group that Azure does not show is old enough to be seen, or that Azure has taken its deletion.
///
/// # Errors
/// `retry` if it may be there all the same.
fn require_age(arm: &Arm<'_>, reference: &Reference) -> Result<(), Fault> {
    let rest = time_to_proof(arm, reference);
    if rest.is_zero() {
        return Ok(());
    }
    let message =
        format!("Azure does not show the container group {} yet, which was made a moment ago", reference.name);
    Err(Fault::retry(TOO_YOUNG_CODE, message))
}

/// Returns the time until which nothing follows from Azure's not showing a group.
pub(crate) fn time_to_proof(arm: &Arm<'_>, reference: &Reference) -> Duration {
    if is_deleted(arm, reference) { Duration::ZERO } else { reference.time_to_visibility() }
}

/// Returns true if Azure has taken the deletion of a group a moment ago. It may show the group for a while yet.
pub(crate) fn is_deleted(arm: &Arm<'_>, reference: &Reference) -> bool {
    arm.cache().get(&deletion_key(reference)).is_some_and(|mark| !mark.is_empty())
}

/// Remembers that Azure has taken the deletion of a group.
pub(crate) fn remember_deletion(arm: &Arm<'_>, reference: &Reference) {
    arm.cache().put(&deletion_key(reference), b"deleted", DELETION_KEPT_FOR);
}

/// Forgets that a group of this name was deleted: it was made again.
pub(crate) fn forget_deletion(arm: &Arm<'_>, reference: &Reference) {
    if is_deleted(arm, reference) {
        arm.cache().put(&deletion_key(reference), b"", Duration::ZERO);
    }
}

fn deletion_key(reference: &Reference) -> String {
    format!("aci deleted\n{}", reference.path())
}

/// Checks that a fault says of this group or of its resource group that it does not exist.
///
/// # Errors
/// `retry` if it is about something else.
pub(crate) fn require_absence(fault: Fault, reference: &Reference) -> Result<(), Fault> {
    let said = fault.message.to_lowercase();
    let names = |name: &str| !name.is_empty() && said.contains(&name.to_lowercase());
    if names(&reference.name) || names(&reference.group) {
        return Ok(());
    }
    Err(Fault { reaction: Reaction::Retry, ..fault })
}

/// Lists the groups of a resource group, without instance views; none if the resource group does not exist. Entries that
/// can't be read are left out: they are not ours.
pub(crate) fn list_groups(arm: &Arm<'_>, reference: &Reference) -> Result<Option<Vec<Group>>, Fault> {
    match arm.list::<Value>(&Call::get(&reference.list_path(), API_VERSION)) {
        Ok(entries) => Ok(Some(readable(entries))),
        Err(fault) if fault.reaction == Reaction::NotFound => require_absence(fault, reference).map(|()| None),
        Err(fault) => Err(fault),
    }
}

pub(crate) fn readable(entries: Vec<Value>) -> Vec<Group> {
    entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_said_of_the_group_itself() {
        let reference = Reference { name: "occopus-1".into(), group: "rg".into(), ..Reference::default() };
        let fault = |message: &str| Fault::not_found("azure.ResourceNotFound", message);
        assert!(
            require_absence(fault("The Resource '.../containerGroups/OCCOPUS-1' was not found."), &reference).is_ok()
        );
        assert!(require_absence(fault("Resource group 'RG' could not be found."), &reference).is_ok());
        let other = require_absence(fault("The Resource 'x' was not found."), &reference).unwrap_err();
        assert_eq!(other.reaction, Reaction::Retry);
    }
}
