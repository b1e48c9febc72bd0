//! States of machines: the power state and the provisioning state together
//! (<https://learn.microsoft.com/azure/virtual-machines/states-billing>).

use occopus_azure_arm::ArmError;
use occopus_sdk::Phase;

use crate::machine::Machine;

/// State of a machine, with Azure's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) message: Option<String>,
}

impl Machine {
    /// Returns the last part of a status of this kind: `running` of `PowerState/running`.
    fn status(&self, kind: &str) -> Option<(&str, Option<&str>)> {
        let statuses = &self.properties.instance_view.as_ref()?.statuses;
        statuses.iter().find_map(|status| {
            let (name, rest) = status.code.split_once('/')?;
            name.eq_ignore_ascii_case(kind).then_some((rest, status.message.as_deref()))
        })
    }

    /// Returns the power state in lower case; none if Azure does not say.
    pub(crate) fn power(&self) -> Option<String> {
        self.status("PowerState").map(|(power, _)| power.to_ascii_lowercase())
    }

    /// Returns the provisioning state in lower case.
    pub(crate) fn provisioning(&self) -> String {
        let listed = || self.status("ProvisioningState").map(|(state, _)| state.split('/').next().unwrap_or(state));
        self.properties.provisioning_state.as_deref().or_else(listed).unwrap_or_default().to_ascii_lowercase()
    }

    pub(crate) fn is_being_deleted(&self) -> bool {
        self.provisioning() == "deleting"
    }

    /// Returns why it failed.
    pub(crate) fn failure(&self) -> Option<ArmError> {
        if self.provisioning() != "failed" {
            return None;
        }
        let (state, message) = self.status("ProvisioningState").unwrap_or(("failed", None));
        let code = state.split('/').nth(1).unwrap_or("ProvisioningFailed").to_owned();
        let message = message.unwrap_or("the machine could not be made").to_owned();
        Some(ArmError { code, message, ..ArmError::default() })
    }

    /// Returns the state in the contract's terms.
    pub(crate) fn state(&self) -> State {
        let say = |phase, message: Option<String>| State { phase, message };
        let failure = || self.failure().map(|error| format!("{} ({})", error.message, error.code));
        let provisioning = self.provisioning();
        if provisioning == "deleting" {
            return say(Phase::Stopped, Some("Azure is deleting it".to_owned()));
        }
        match (self.power().as_deref(), provisioning.as_str()) {
            // What failed was a change of a machine that runs, or its agent is late.
            (Some("running"), _) => say(Phase::Running, failure()),
            (Some("starting"), "failed") => say(Phase::Failed, failure()),
            (Some("starting"), _) => say(Phase::Pending, None),
            (Some(power @ ("stopping" | "stopped")), _) => {
                say(Phase::Stopped, Some(format!("{power}: it was shut down, and is paid for until it is deallocated")))
            }
            (Some(power @ ("deallocating" | "deallocated")), _) => {
                let is_spot = self.properties.priority.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("spot"));
                let why = if is_spot {
                    "Azure evicted the Spot machine, or somebody deallocated it"
                } else {
                    "somebody deallocated it"
                };
                say(Phase::Stopped, Some(format!("{power}: {why}")))
            }
            (Some(other), _) => say(Phase::Unknown, Some(format!("Azure shows the power state `{other}`"))),
            (None, "failed") => say(Phase::Failed, failure()),
            (None, "canceled" | "cancelled") => say(Phase::Failed, Some("somebody canceled its creation".to_owned())),
            (None, "creating" | "updating" | "migrating") => say(Phase::Pending, None),
            // A list without states shows no more than this.
            (None, "succeeded") if self.properties.instance_view.is_none() => say(Phase::Running, None),
            (None, "succeeded") => say(Phase::Pending, None),
            (None, other) => say(Phase::Unknown, Some(format!("Azure shows the provisioning state `{other}`"))),
        }
    }

    /// Returns true once Azure has found room for it, or has none, or it is stopped: what creation waits for.
    pub(crate) fn is_placed(&self) -> bool {
        self.power().is_some() || !matches!(self.provisioning().as_str(), "creating" | "updating" | "")
    }
}
