//! Resource groups: made if they are missing, and removed if the user asks for it.

use std::time::Duration;

use occopus_azure_arm::{Arm, Call};
use occopus_sdk::{Fault, log};
use serde::Deserialize;
use serde_json::json;

use crate::group::{INFRASTRUCTURE_TAG, tag};
use crate::handle::Reference;
use crate::once::once;

const API_VERSION: &str = "2021-04-01";
/// Time for which one that was just made is not made again.
const KNOWN_FOR: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct ResourceGroup {
    #[serde(default)]
    tags: Option<std::collections::BTreeMap<String, String>>,
}

/// Makes something in the resource group, which is made first if Azure says that it does not exist. A resource group that
/// exists is not touched.
pub(crate) fn with<T>(
    arm: &Arm<'_>,
    reference: &Reference,
    location: &str,
    make: impl Fn() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let is_missing =
        |made: &Result<T, Fault>| made.as_ref().is_err_and(|fault| fault.code == "azure.ResourceGroupNotFound");
    let made = make();
    if !is_missing(&made) {
        return made;
    }
    let path = reference.group_path();
    let put = || {
        arm.call().progress("making the resource group", None);
        let body = json!({"location": location, "tags": {INFRASTRUCTURE_TAG: reference.infrastructure}});
        arm.send(&Call::put(&path, API_VERSION, body))
    };
    once(arm, &format!("aci resource group\n{path}"), KNOWN_FOR, put)?;
    let made = make();
    if !is_missing(&made) {
        return made;
    }
    // It was made and deleted within a moment.
    put()?;
    make()
}

/// Removes the resource group if it was made for this infrastructure and nothing is in it.
pub(crate) fn remove(arm: &Arm<'_>, reference: &Reference) -> Result<(), Fault> {
    let path = reference.group_path();
    let Some(found) = arm.read_if_there::<ResourceGroup>(&Call::get(&path, API_VERSION))? else { return Ok(()) };
    let owner = found.tags.as_ref().and_then(|tags| tag(tags, INFRASTRUCTURE_TAG));
    if reference.infrastructure.is_empty() || owner != Some(reference.infrastructure.as_str()) {
        log::debug(format!("the resource group {} stays: it was not made for this infrastructure", reference.group));
        return Ok(());
    }
    if !arm.is_group_empty(&reference.group)? {
        log::debug(format!("the resource group {} stays: resources are in it", reference.group));
        return Ok(());
    }
    arm.remove(&Call::delete(&path, API_VERSION)).map(drop)
}
