//! Judgement of machines that an answer does not show. EC2 says the same of a machine that is gone, of one that was
//! made a moment ago, and of one in another account or region.

use jiff::Timestamp;
use occopus_sdk::{Fault, Reaction};
use roxmltree::{Document, Node};

use crate::api::{Api, Effect, Form};
use crate::handle::{Reference, plain};
use crate::instances::owner_of_reservations;
use crate::xml::{items, text};

/// Seconds for which a new machine may be unknown
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>).
const VISIBILITY_DELAY_S: i64 = 120;
/// The same by this machine's clock, if the cloud does not send its time: a signature is good for minutes only, so the
/// clocks do not differ by an hour.
const VISIBILITY_DELAY_BY_LOCAL_CLOCK_S: i64 = 3600 + VISIBILITY_DELAY_S;

/// State of a machine that these credentials do not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// The machine does not exist any more.
    Gone,
    /// The machine may be too young to be seen.
    TooEarly,
}

impl Api<'_> {
    /// Judges a machine that the last answer did not show. `others_seen`: these credentials see other machines of the same
    /// section, which stands for the account where the handle does not name one.
    ///
    /// # Errors
    /// `denied` if it may exist all the same: these credentials belong to another account, or their account is unknown.
    pub(crate) fn judge_absence(&self, machine: &Reference, others_seen: bool) -> Result<Absence, Fault> {
        if self.is_too_early(machine) {
            return Ok(Absence::TooEarly);
        }
        let id = &machine.id;
        let here = self.section.signing_region();
        if let Some(region) = machine.region.as_deref().filter(|region| *region != here) {
            let message = format!("{id} was made in region {region}, and requests of this section are for {here}");
            return Err(Fault::denied("ec2.other-region", message)
                .at("/regionname", format!("write {region}, and the endpoint of that region")));
        }
        match &machine.account {
            None if others_seen => Ok(Absence::Gone),
            None => {
                let message = format!("{id} is not there for these credentials, and its account was not recorded");
                Err(Fault::denied("ec2.unknown-account", message)
                    .detail("Its record stays: it may run in another account. Look for it in the cloud's console."))
            }
            Some(account) => match self.account()? {
                Some(ours) if ours == *account => Ok(Absence::Gone),
                Some(ours) => Err(other_account_fault(id, &ours, account)),
                None => {
                    let message = format!(
                        "{id} is not there for these credentials, and the cloud does not say whether they belong to account \
                         {account}, in which it was made"
                    );
                    Err(Fault::denied("ec2.unknown-account", message)
                        .detail("With the permission ec2:DescribeSecurityGroups it would say so."))
                }
            },
        }
    }

    /// Checks that these credentials are not known to belong to another account, for which waiting is of no use.
    ///
    /// # Errors
    /// `denied` if they belong to another account.
    pub(crate) fn require_no_other_account(&self, machine: &Reference) -> Result<(), Fault> {
        let Some(account) = &machine.account else { return Ok(()) };
        match self.account()? {
            Some(ours) if ours != *account => Err(other_account_fault(&machine.id, &ours, account)),
            _ => Ok(()),
        }
    }

    /// Returns true if the machine may be too young to be seen, with both times by the cloud's own clock. A machine
    /// without a known launch time is old enough.
    fn is_too_early(&self, machine: &Reference) -> bool {
        let Some(launched) = machine.launched else { return false };
        match self.cloud_time() {
            Some(now) => now.as_second() - launched < VISIBILITY_DELAY_S,
            None => Timestamp::now().as_second() - launched < VISIBILITY_DELAY_BY_LOCAL_CLOCK_S,
        }
    }

    /// Returns the account that these credentials belong to, by what it owns: machines that were listed in this call,
    /// the security group that each network has and no other account sees, any machine. None if the cloud does not name
    /// it.
    fn account(&self) -> Result<Option<String>, Fault> {
        if let Some(known) = self.known_account() {
            return Ok(Some(known));
        }
        let groups = Form::new("DescribeSecurityGroups").filter(1, "group-name", ["default"]);
        let found = match self.call(Effect::None, groups, owner_of_groups) {
            Ok(found) => found,
            Err(fault) if fault.reaction == Reaction::Retry => return Err(fault),
            // The refusal names a user who may not do this, with the account.
            Err(fault) => account_in_arn(&fault.message),
        };
        if let Some(account) = found {
            self.remember_account(Some(&account));
            return Ok(Some(account));
        }
        let machines = Form::new("DescribeInstances").add("MaxResults", "5");
        match self.call(Effect::None, machines, owner_of_reservations) {
            Ok(found) => Ok(found),
            Err(fault) if fault.reaction == Reaction::Retry => Err(fault),
            Err(_) => Ok(None),
        }
    }
}

fn other_account_fault(id: &str, ours: &str, account: &str) -> Fault {
    let message = format!("these credentials belong to account {ours}, and {id} was made in account {account}");
    Fault::denied("ec2.other-account", message)
        .detail(format!("Give the rule in auth_data.yaml an access key of account {account}."))
}

/// Reads an owner's id. Some clouds put the same word for everybody in its place.
pub(crate) fn owner(node: Node) -> Option<String> {
    text(node, "ownerId").and_then(plain).filter(|id| id.bytes().any(|byte| byte.is_ascii_digit()))
}

/// Returns the one owner of all groups; the outer one is none if it is another document.
fn owner_of_groups(document: &Document) -> Option<Option<String>> {
    let root = document.root_element();
    if root.tag_name().name() != "DescribeSecurityGroupsResponse" {
        return None;
    }
    Some(common_owner(items(root, "securityGroupInfo").map(owner)))
}

/// Returns the owner, if it is the same for all.
pub(crate) fn common_owner(mut owners: impl Iterator<Item = Option<String>>) -> Option<String> {
    let first = owners.next()??;
    owners.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

/// Reads the account from `User: arn:aws:iam::123456789012:user/NAME is not authorized to perform: ...`.
fn account_in_arn(words: &str) -> Option<String> {
    let (_, arn) = words.split_once("User: arn:")?;
    let account = arn.split(':').nth(3)?;
    (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())).then(|| account.to_owned())
}

#[cfg(test)]
mod tests {
    use super::account_in_arn;

    #[test]
    fn a_refusal_names_the_account() {
        for (words, account) in [
            (
                "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/x is not authorized",
                Some("123456789012"),
            ),
            ("User: arn:aws-cn:sts::210987654321:assumed-role/r/s is not authorized", Some("210987654321")),
            ("You are not authorized to perform this operation.", None),
            ("User: arn:aws:iam::x:user/x", None),
        ] {
            assert_eq!(account_in_arn(words).as_deref(), account, "{words}");
        }
    }
}
