//! What is asked of a cloud about instances.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use occopus_sdk::{Fault, Handle, NodeRequest, Observed, Phase, Reaction, log};
use roxmltree::{Document, Node};

use crate::absence::{Absence, common_owner, owner};
use crate::api::{Api, Effect, Form};
use crate::handle::{HANDLE_VERSION, Reference};
use crate::instance::{Ec2Instance, INSTANCE_TAG, Tenancy};
use crate::preflight::user_data_too_long;
use crate::section::Section;
use crate::xml::{child, items, text};

/// Values of a filter, by the API's own limit.
const MAX_IDS_PER_QUERY: usize = 200;
/// Entries of a page, by the API's own limit.
const PAGE_SIZE: &str = "1000";
/// Lists lag behind what was created: looked at again after these.
const SETTLE_DELAYS: [Duration; 3] = [Duration::from_millis(500), Duration::from_millis(1500), Duration::from_secs(3)];
const LIVE_STATES: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// A page of instances, and the token of the next.
type InstancePage = (Vec<Ec2Instance>, Option<String>);
/// Instances by their ids.
type InstancesById = HashMap<String, Ec2Instance>;

impl Api<'_> {
    /// Makes one.
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

    /// For clouds that ignore tags at creation. They may not know the machine for a moment.
    pub(crate) fn add_tags(&self, made: Ec2Instance, request: &NodeRequest<Section>) -> Result<Ec2Instance, Fault> {
        let mut pauses = SETTLE_DELAYS.into_iter();
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
                Some(pause) if fault.reaction == Reaction::Retry => self.scope.call().wait(pause),
                _ => return Err(self.terminate_untagged(&made, fault)),
            }
        }
    }

    /// What can't be marked could not be found again: it is taken back.
    fn terminate_untagged(&self, made: &Ec2Instance, fault: Fault) -> Fault {
        match self.terminate(&made.reference()) {
            Ok(()) => fault,
            Err(_) => Fault { reaction: Reaction::UnknownOutcome, ..fault }
                .detail(format!("{} was made, can't be tagged and can't be terminated: remove it", made.id)),
        }
    }

    /// Those that carry this id and live, the oldest first. None means that the API itself shows none.
    pub(crate) fn find_by_instance(&self, instance_id: &str) -> Result<Vec<Ec2Instance>, Fault> {
        let form = || {
            Form::new("DescribeInstances").filter(1, &format!("tag:{INSTANCE_TAG}"), [instance_id]).filter(
                2,
                "instance-state-name",
                LIVE_STATES,
            )
        };
        let mut found = self.list_all(form)?;
        // A cloud without filters lists everything.
        found.retain(|instance| instance.is_alive() && instance.was_created_for(instance_id, self.section.is_amazon()));
        found.sort_by(|a, b| a.age_key().cmp(&b.age_key()));
        Ok(found)
    }

    /// The one that stays of those which carry this id. What else carries it is terminated: a cloud that ignores the
    /// client token may have made two.
    pub(crate) fn find_without_duplicates(&self, instance_id: &str) -> Result<Option<Ec2Instance>, Fault> {
        let mut found = self.find_by_instance(instance_id)?.into_iter();
        let one = found.next();
        for other in found {
            log::warn(format!("{} carries the id of {instance_id} too: it is terminated", other.id));
            self.terminate(&other.reference())?;
        }
        Ok(one)
    }

    /// The same, once lists had time to show it. A look that fails on the way is made up for by the next one.
    pub(crate) fn find_after_settling(&self, instance_id: &str) -> Result<Option<Ec2Instance>, Fault> {
        for pause in SETTLE_DELAYS {
            match self.find_without_duplicates(instance_id) {
                Ok(None) => {}
                Err(fault) if fault.reaction == Reaction::Retry => {}
                found_or_refused => return found_or_refused,
            }
            self.scope.call().wait(pause);
        }
        self.find_without_duplicates(instance_id)
    }

    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let machines: Vec<Reference> = handles.iter().map(Reference::of).collect();
        // By the mark: that shows twins too. Not as `InstanceId`: there, one that is missing fails the whole call.
        let marks = machines.iter().filter_map(|machine| machine.instance.as_deref());
        let mut seen = self.find_by_filter(&format!("tag:{INSTANCE_TAG}"), marks)?;
        // Those of old handles, those whose tags were removed, and those that are gone.
        let others = machines.iter().map(|machine| machine.id.as_str()).filter(|id| !seen.contains_key(*id));
        let others: Vec<String> = others.map(str::to_owned).collect();
        seen.extend(self.find_by_filter("instance-id", others.iter().map(String::as_str))?);
        self.remove_duplicates(&machines, &seen);
        let any = machines.iter().any(|machine| seen.contains_key(&machine.id));
        let answers = machines.iter().zip(handles).map(|(machine, handle)| match seen.get(&machine.id) {
            Some(instance) => Ok(observed(instance, machine, handle)),
            None => self.observe_missing(machine, handle, any),
        });
        answers.collect()
    }

    /// What a machine is that no list shows. When it can't be told, that fails the call, unless others can be told of.
    fn observe_missing(&self, machine: &Reference, handle: &Handle, others_seen: bool) -> Result<Observed, Fault> {
        let unknown = |why: String| Observed::new(handle.clone(), Phase::Unknown).because(why);
        let judged = match self.judge_absence(machine, others_seen) {
            // It is not late for whoever will never see it.
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

    /// The machine with this id, if these credentials see it.
    pub(crate) fn find_by_id(&self, id: &str) -> Result<Option<Ec2Instance>, Fault> {
        Ok(self.find_by_filter("instance-id", std::iter::once(id))?.remove(id))
    }

    /// Instances for which a filter has one of these values.
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

    /// What carries our mark, a page.
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
            // A server that repeats itself would keep us for ever.
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

    /// None when it is no answer to `DescribeInstances`, or an entry can't be read.
    fn parse_page(&self, document: &Document) -> Option<InstancePage> {
        let instances = reservations(document)?.flat_map(|reservation| {
            let home = self.tenancy(owner(reservation));
            items(reservation, "instancesSet").map(move |item| Ec2Instance::read(item, &home))
        });
        Some((instances.collect::<Option<_>>()?, text(document.root_element(), "nextToken").map(str::to_owned)))
    }
}

/// With the handle that was asked for. One of an old version is replaced by what is known now.
fn observed(instance: &Ec2Instance, machine: &Reference, handle: &Handle) -> Observed {
    let seen = instance.observed();
    if handle.version < HANDLE_VERSION {
        let known = instance.reference();
        let launched = machine.launched.or(known.launched);
        return Observed { handle: Reference { launched, ..known }.handle(), ..seen };
    }
    Observed { handle: handle.clone(), ..seen }
}

/// Takes answers of this name, and no other documents.
pub(crate) fn expect_document(name: &str) -> impl FnOnce(&Document) -> Option<()> {
    move |document| (document.root_element().tag_name().name() == name).then_some(())
}

/// None when it is no answer to `DescribeInstances`.
fn reservations<'a, 'i>(document: &'a Document<'i>) -> Option<impl Iterator<Item = Node<'a, 'i>>> {
    let root = document.root_element();
    expect_document("DescribeInstancesResponse")(document)?;
    child(root, "reservationSet")?;
    Some(items(root, "reservationSet"))
}

/// The account whose machines are listed; none in it when there are none.
pub(crate) fn owner_of_reservations(document: &Document) -> Option<Option<String>> {
    Some(common_owner(reservations(document)?.map(owner)))
}

/// The user's, ours, and a name where the user gives none: lists in consoles show it.
pub(crate) fn tags(request: &NodeRequest<Section>) -> Vec<(&str, &str)> {
    let own = request.scope.section.tags.iter().flatten().map(|(key, value)| (key.as_str(), &**value));
    let mut tags: Vec<(&str, &str)> = own.filter(|(key, _)| !key.starts_with("occopus.")).collect();
    if !tags.iter().any(|(key, _)| *key == "Name") {
        tags.push(("Name", &request.machine_name));
    }
    tags.extend(request.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    tags
}
