//! Calls of the API that create, list and tag instances.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use occopus_sdk::idempotent::{self, Machines};
use occopus_sdk::{Fault, Handle, NodeRequest, Observed, Phase, Reaction};
use roxmltree::{Document, Node};

use crate::absence::{Absence, common_owner, owner};
use crate::api::{Api, Effect, Form};
use crate::handle::{HANDLE_VERSION, Reference};
use crate::instance::{Ec2Instance, INSTANCE_TAG, Tenancy};
use crate::preflight::user_data_too_long;
use crate::section::Section;
use crate::xml::{child, items, text};

/// Maximum number of values of a filter, by the API's own limit.
const MAX_IDS_PER_QUERY: usize = 200;
/// Maximum number of entries of a page, by the API's own limit.
const PAGE_SIZE: &str = "1000";
/// Pauses before the next look-up of an instance that the cloud does not show yet.
const SETTLE_DELAYS: &[Duration] = &[Duration::from_millis(500), Duration::from_millis(1500), Duration::from_secs(3)];
const LIVE_STATES: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// Page of instances, and the token of the next.
type InstancePage = (Vec<Ec2Instance>, Option<String>);
/// Instances by their ids.
type InstancesById = HashMap<String, Ec2Instance>;

impl Api<'_> {
    /// Launches an instance.
    pub(crate) fn launch(&self, request: &NodeRequest<Section>) -> Result<Ec2Instance, Fault> {
        let section = self.section;
        let mut form = Form::new("RunInstances")
            .add("MinCount", "1")
            .add("MaxCount", "1")
            .add("ClientToken", &request.instance_id)
            .add("ImageId", section.image_id.trim())
            .add("InstanceType", section.instance_type.trim());
        let optional = [("KeyName", &section.key_name), ("SubnetId", &section.subnet_id)];
        for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?.given()?))) {
            form.push(name, value);
        }
        let groups = section.security_group_ids.iter().flatten().filter_map(|group| group.given());
        for (index, group) in groups.enumerate() {
            form.push(&format!("SecurityGroupId.{}", index + 1), group);
        }
        if let Some(data) = request.user_data.as_ref().filter(|data| !data.is_empty()) {
            if let Some(message) = user_data_too_long(data) {
                return Err(Fault::give_up("ec2.user-data-too-long", message)
                    .at("#user-data", "this template makes it; let the machine fetch large files itself"));
            }
            form.push("UserData", &STANDARD.encode(data));
        }
        form.push("TagSpecification.1.ResourceType", "instance");
        for (index, (key, value)) in tags(request).into_iter().enumerate() {
            form.push(&format!("TagSpecification.1.Tag.{}.Key", index + 1), key);
            form.push(&format!("TagSpecification.1.Tag.{}.Value", index + 1), value);
        }
        self.call(Effect::Possible, form, |document| {
            let root = document.root_element();
            Ec2Instance::read(items(root, "instancesSet").next()?, &self.tenancy(owner(root)))
        })
    }

    /// Tags an instance, on clouds that ignore tags at creation. They may not know it for a moment.
    pub(crate) fn add_tags(&self, made: Ec2Instance, request: &NodeRequest<Section>) -> Result<Ec2Instance, Fault> {
        let mut pauses = SETTLE_DELAYS.iter();
        loop {
            let mut form = Form::new("CreateTags").add("ResourceId.1", &made.id);
            for (index, (key, value)) in tags(request).into_iter().enumerate() {
                form.push(&format!("Tag.{}.Key", index + 1), key);
                form.push(&format!("Tag.{}.Value", index + 1), value);
            }
            let fault = match self.call(Effect::None, form, expect_document("CreateTagsResponse")) {
                Ok(()) => return Ok(made.with_tags(tags(request))),
                Err(fault) => fault,
            };
            match pauses.next() {
                Some(pause) if fault.reaction == Reaction::Retry => self.scope.call().wait(*pause),
                _ => return Err(self.terminate_untagged(&made, fault)),
            }
        }
    }

    /// Terminates an instance that can't be tagged, since it could not be found again.
    fn terminate_untagged(&self, made: &Ec2Instance, fault: Fault) -> Fault {
        match self.terminate(&made.reference()) {
            Ok(()) => fault,
            Err(_) => Fault { reaction: Reaction::UnknownOutcome, ..fault }
                .detail(format!("{} was made, can't be tagged and can't be terminated: remove it", made.id)),
        }
    }

    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let machines: Vec<Reference> = handles.iter().map(Reference::of).collect();
        // Listed by the ownership label, which shows twins too. Not by `InstanceId`: there, one that is missing fails
        // the whole call.
        let instance_ids = machines.iter().filter_map(|machine| machine.instance.as_deref());
        let mut seen = self.find_by_filter(&format!("tag:{INSTANCE_TAG}"), instance_ids)?;
        // The others: those of old handles, those whose tags were removed, and those that are gone.
        let others = machines.iter().map(|machine| machine.id.as_str()).filter(|id| !seen.contains_key(*id));
        let others: Vec<String> = others.map(str::to_owned).collect();
        seen.extend(self.find_by_filter("instance-id", others.iter().map(String::as_str))?);
        self.remove_twins(&machines, &seen);
        let any = machines.iter().any(|machine| seen.contains_key(&machine.id));
        let answers = machines.iter().zip(handles).map(|(machine, handle)| match seen.get(&machine.id) {
            Some(instance) => Ok(observed(instance, machine, handle)),
            None => self.observe_missing(machine, handle, any),
        });
        answers.collect()
    }

    /// Terminates what carries the id of a machine that is alive, beside that machine: a creation that the network
    /// delivered twice to a cloud that ignores client tokens.
    fn remove_twins(&self, machines: &[Reference], seen: &InstancesById) {
        if !self.creates_once() {
            let observed: Vec<_> =
                machines.iter().map(|machine| (machine.instance.as_deref(), machine.id.as_str())).collect();
            idempotent::remove_twins(self, &observed, seen.values().filter(|instance| instance.is_alive()));
        }
    }

    /// Judges a machine that no list shows. If that is not possible, the call fails, unless other machines were seen.
    fn observe_missing(&self, machine: &Reference, handle: &Handle, others_seen: bool) -> Result<Observed, Fault> {
        let unknown = |why: String| Observed::new(handle.clone(), Phase::Unknown).because(why);
        let judged = match self.judge_absence(machine, others_seen) {
            // Credentials of another account will never see it, so waiting is of no use.
            Ok(Absence::TooEarly) => match self.require_no_other_account(machine) {
                Err(fault) if fault.reaction == Reaction::Denied => Err(fault),
                _ => Ok(Absence::TooEarly),
            },
            judged => judged,
        };
        match judged {
            Ok(Absence::Gone) => Ok(Observed::new(handle.clone(), Phase::Gone)),
            Ok(Absence::TooEarly) => Ok(unknown("the cloud does not list it yet".to_owned())),
            Err(fault) if others_seen && fault.reaction == Reaction::Denied => Ok(unknown(fault.message)),
            Err(fault) => Err(fault),
        }
    }

    /// Finds the machine with this id, if these credentials see it.
    pub(crate) fn find_by_id(&self, id: &str) -> Result<Option<Ec2Instance>, Fault> {
        Ok(self.find_by_filter("instance-id", std::iter::once(id))?.remove(id))
    }

    /// Lists the instances for which a filter has one of these values.
    fn find_by_filter<'t>(&self, filter: &str, values: impl Iterator<Item = &'t str>) -> Result<InstancesById, Fault> {
        let values: Vec<&str> = values.collect::<BTreeSet<_>>().into_iter().collect();
        let mut seen = InstancesById::with_capacity(values.len());
        for some in values.chunks(MAX_IDS_PER_QUERY) {
            let form = || Form::new("DescribeInstances").filter(1, filter, some.iter().copied());
            seen.extend(self.list_all(form)?.into_iter().map(|instance| (instance.id.clone(), instance)));
        }
        Ok(seen)
    }

    fn tenancy(&self, account: Option<String>) -> Tenancy {
        Tenancy { account, region: self.section.signing_region().to_owned() }
    }

    /// Lists a page of the instances that carry our ownership label.
    pub(crate) fn list_tagged(&self, cursor: Option<&str>) -> Result<InstancePage, Fault> {
        let form = Form::new("DescribeInstances").filter(1, "tag-key", [INSTANCE_TAG]).filter(
            2,
            "instance-state-name",
            LIVE_STATES,
        );
        self.list_page(form, cursor)
    }

    fn list_all(&self, form: impl Fn() -> Form) -> Result<Vec<Ec2Instance>, Fault> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (page, next) = self.list_page(form(), cursor.as_deref())?;
            all.extend(page);
            // A server that repeats its cursor would never end.
            if next.is_none() || next == cursor {
                return Ok(all);
            }
            cursor = next;
        }
    }

    fn list_page(&self, form: Form, cursor: Option<&str>) -> Result<InstancePage, Fault> {
        let mut form = form.add("MaxResults", PAGE_SIZE);
        if let Some(cursor) = cursor {
            form.push("NextToken", cursor);
        }
        let page = self.call(Effect::None, form, |document| self.parse_page(document))?;
        self.remember_account(page.0.iter().find_map(Ec2Instance::account));
        Ok(page)
    }

    /// Reads a page; none if it is not an answer to `DescribeInstances`, or an entry can't be read.
    fn parse_page(&self, document: &Document) -> Option<InstancePage> {
        let instances = reservations(document)?.flat_map(|reservation| {
            let tenancy = self.tenancy(owner(reservation));
            items(reservation, "instancesSet").map(move |item| Ec2Instance::read(item, &tenancy))
        });
        Some((instances.collect::<Option<_>>()?, text(document.root_element(), "nextToken").map(str::to_owned)))
    }
}

impl Machines for Api<'_> {
    type Machine = Ec2Instance;

    /// Launch times are whole seconds. Lists of clouds that ignore client tokens come from one database.
    const LIST_LAG: Duration = Duration::from_secs(1);
    const SEARCH_PAUSES: &'static [Duration] = SETTLE_DELAYS;

    fn creates_once(&self) -> bool {
        self.section.is_amazon()
    }

    fn list(&self, instance_id: &str) -> Result<Vec<Ec2Instance>, Fault> {
        let form = || {
            Form::new("DescribeInstances").filter(1, &format!("tag:{INSTANCE_TAG}"), [instance_id]).filter(
                2,
                "instance-state-name",
                LIVE_STATES,
            )
        };
        let mut found = self.list_all(form)?;
        // A cloud without filters lists everything.
        found.retain(|instance| instance.is_alive() && instance.was_created_for(instance_id, self.creates_once()));
        Ok(found)
    }

    fn destroy(&self, instance: &Ec2Instance) -> Result<(), Fault> {
        self.terminate(&instance.reference())
    }

    fn id(instance: &Ec2Instance) -> &str {
        &instance.id
    }

    fn instance_id(instance: &Ec2Instance) -> Option<&str> {
        instance.instance_id()
    }

    fn created(instance: &Ec2Instance) -> impl Ord {
        instance.launched()
    }
}

/// Returns the observation under the handle that the host gave. A handle of an old version is replaced by what is known
/// now.
fn observed(instance: &Ec2Instance, machine: &Reference, handle: &Handle) -> Observed {
    let seen = instance.observed();
    if handle.version < HANDLE_VERSION {
        let known = instance.reference();
        let launched = machine.launched.or(known.launched);
        return Observed { handle: Reference { launched, ..known }.handle(), ..seen };
    }
    Observed { handle: handle.clone(), ..seen }
}

/// Returns a reader that accepts documents of this name only.
pub(crate) fn expect_document(name: &str) -> impl FnOnce(&Document) -> Option<()> {
    move |document| (document.root_element().tag_name().name() == name).then_some(())
}

/// Returns the reservations; none if it is not an answer to `DescribeInstances`.
fn reservations<'a, 'i>(document: &'a Document<'i>) -> Option<impl Iterator<Item = Node<'a, 'i>>> {
    let root = document.root_element();
    expect_document("DescribeInstancesResponse")(document)?;
    child(root, "reservationSet")?;
    Some(items(root, "reservationSet"))
}

/// Returns the account whose machines are listed; the inner one is none if there are no machines.
pub(crate) fn owner_of_reservations(document: &Document) -> Option<Option<String>> {
    Some(common_owner(reservations(document)?.map(owner)))
}

/// Returns the user's tags, the ownership label, and a name if the user gives none: lists in consoles show it.
pub(crate) fn tags(request: &NodeRequest<Section>) -> Vec<(&str, &str)> {
    let own = request.scope.section.tags.iter().flatten().map(|(key, value)| (key.as_str(), &**value));
    let mut tags: Vec<(&str, &str)> = own.filter(|(key, _)| !key.starts_with("occopus.")).collect();
    if !tags.iter().any(|(key, _)| *key == "Name") {
        tags.push(("Name", &request.machine_name));
    }
    tags.extend(request.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    tags
}
