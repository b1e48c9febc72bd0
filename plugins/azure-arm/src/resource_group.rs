//! Emptiness of resource groups, which is not decided by a list that lags.

use std::time::Duration;

use occopus_sdk::{Fault, Reaction};
use serde_json::Value;

use crate::client::{Arm, Call};

/// Version of the interface of resource groups.
const RESOURCES: &str = "2021-04-01";
/// Types that are asked for by their own lists, which show what `/resources` does not show yet.
const TYPES: [(&str, &str); 7] = [
    ("Microsoft.Compute/virtualMachines", "2024-07-01"),
    ("Microsoft.Compute/disks", "2023-10-02"),
    ("Microsoft.ContainerInstance/containerGroups", "2023-05-01"),
    ("Microsoft.Network/virtualNetworks", "2024-05-01"),
    ("Microsoft.Network/networkInterfaces", "2024-05-01"),
    ("Microsoft.Network/publicIPAddresses", "2024-05-01"),
    ("Microsoft.Network/networkSecurityGroups", "2024-05-01"),
];
/// Pause between two looks, in which what was just made appears.
const LOOK_PAUSE: Duration = Duration::from_secs(10);
/// Pause while what was deleted still appears, and the looks at it.
const GHOST_PAUSE: Duration = Duration::from_secs(2);
const MAX_GHOST_LOOKS: usize = 15;
/// Time that is left for the answer to the host.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

impl Arm<'_> {
    /// Returns true if nothing is in a resource group by two looks with a pause between, at the list of all resources and at
    /// those of each type that Occopus makes. Waits for a while until what was deleted no longer appears.
    ///
    /// # Errors
    /// Fails if a list can't be read.
    pub fn is_group_empty(&self, group: &str) -> Result<bool, Fault> {
        for _ in 0..MAX_GHOST_LOOKS {
            if self.shows_nothing(group)? {
                if !self.may_wait(LOOK_PAUSE) {
                    return Ok(false);
                }
                self.call().wait(LOOK_PAUSE);
                return self.shows_nothing(group);
            }
            if !self.may_wait(GHOST_PAUSE) {
                break;
            }
            self.call().wait(GHOST_PAUSE);
        }
        Ok(false)
    }

    fn may_wait(&self, pause: Duration) -> bool {
        !self.call().cancelled() && self.call().remaining() > ANSWER_MARGIN + pause
    }

    fn shows_nothing(&self, group: &str) -> Result<bool, Fault> {
        let all = (format!("{}/resources", self.group(group)), RESOURCES);
        let by_type = TYPES.map(|(kind, version)| (self.in_group(group, kind, ""), version));
        for (path, version) in std::iter::once(all).chain(by_type) {
            let items = match self.page::<Value>(&Call::get(&path, version)) {
                // The provider was never used.
                Err(fault) if fault.code == "azure.MissingSubscriptionRegistration" => continue,
                Err(fault) if fault.reaction == Reaction::NotFound => continue,
                page => page?.items,
            };
            if !items.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
