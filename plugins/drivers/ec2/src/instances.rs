//! What is asked of a cloud about instances.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use occopus_sdk::{Fault, Handle, NodeRequest, Observed, Reaction, log};
use roxmltree::{Document, Node};

use crate::api::{Api, Effect, Form};
use crate::instance::{Ec2Instance, INSTANCE, Reference};
use crate::section::Section;
use crate::xml::{child, items, text};

/// Values of a filter, by the API's own limit.
const OBSERVED_AT_ONCE: usize = 200;
/// Entries of a page, by the API's own limit.
const PAGE: &str = "1000";
/// Bytes before base64, by the API's own limit.
const USER_DATA: usize = 16 << 10;
/// Lists lag behind what was created: looked at again after these.
const SETTLING: [Duration; 3] = [Duration::from_millis(500), Duration::from_millis(1500), Duration::from_secs(3)];
const LIVING: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// A page of instances, and the token of the next.
type Listed = (Vec<Ec2Instance>, Option<String>);

impl Api<'_> {
    /// Makes one.
    pub(crate) fn run(&self, request: &NodeRequest<Section>) -> Result<Ec2Instance, Fault> {
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
            if data.len() > USER_DATA {
                let message = format!("the user data has {} bytes; EC2 takes {USER_DATA} at most", data.len());
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
        self.call(Effect::Perhaps, form, |document| {
            Ec2Instance::read(items(document.root_element(), "instancesSet").next()?)
        })
    }

    /// For clouds that ignore tags at creation.
    pub(crate) fn tag(&self, id: &str, request: &NodeRequest<Section>) -> Result<(), Fault> {
        let mut form = Form::new("CreateTags").add("ResourceId.1", id);
        for (index, (key, value)) in tags(request).into_iter().enumerate() {
            form.push(&format!("Tag.{}.Key", index + 1), key);
            form.push(&format!("Tag.{}.Value", index + 1), value);
        }
        self.call(Effect::Perhaps, form, named("CreateTagsResponse"))
    }

    /// The one that stays of those which carry this id. What else carries it is terminated: a cloud that ignores the
    /// client token may have made two.
    pub(crate) fn the_one(&self, instance_id: &str) -> Result<Option<Ec2Instance>, Fault> {
        let form = || {
            Form::new("DescribeInstances").filter(1, &format!("tag:{INSTANCE}"), [instance_id]).filter(
                2,
                "instance-state-name",
                LIVING,
            )
        };
        let mut found = self.all(form)?;
        // A cloud without filters lists everything.
        found.retain(|instance| instance.lives() && instance.tag(INSTANCE) == Some(instance_id));
        found.sort_by(|a, b| a.age().cmp(&b.age()));
        let mut found = found.into_iter();
        let one = found.next();
        for other in found {
            log::warn(format!("{} carries the id of {instance_id} too: it is terminated", other.id));
            self.terminate(&other.id)?;
        }
        Ok(one)
    }

    /// The same, once lists had time to show it. A look that fails on the way is made up for by the next one.
    pub(crate) fn settled(&self, instance_id: &str) -> Result<Option<Ec2Instance>, Fault> {
        for pause in SETTLING {
            match self.the_one(instance_id) {
                Ok(None) => {}
                Err(fault) if fault.reaction == Reaction::Retry => {}
                found_or_refused => return found_or_refused,
            }
            sleep(pause);
        }
        self.the_one(instance_id)
    }

    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let references: Vec<Reference> = handles.iter().map(Reference::of).collect();
        let mut seen: HashMap<String, Observed> = HashMap::with_capacity(handles.len());
        for some in references.chunks(OBSERVED_AT_ONCE) {
            // Not as `InstanceId`: there, one that is missing fails the whole call.
            let form = || {
                let ids = some.iter().map(|reference| reference.id.as_str());
                Form::new("DescribeInstances").filter(1, "instance-id", ids)
            };
            seen.extend(self.all(form)?.into_iter().map(|instance| (instance.id.clone(), instance.observed())));
        }
        let now = Timestamp::now();
        let answer = |(reference, handle): (&Reference, &Handle)| match seen.get(&reference.id) {
            Some(observed) => Observed { handle: handle.clone(), ..observed.clone() },
            None => reference.absent(handle, now),
        };
        Ok(references.iter().zip(handles).map(answer).collect())
    }

    pub(crate) fn terminate(&self, id: &str) -> Result<(), Fault> {
        let form = Form::new("TerminateInstances").add("InstanceId.1", id);
        match self.call(Effect::None, form, named("TerminateInstancesResponse")) {
            Err(fault) if fault.reaction == Reaction::NotFound => Ok(()),
            other => other,
        }
    }

    /// What carries our mark, a page.
    pub(crate) fn marked(&self, cursor: Option<&str>) -> Result<Listed, Fault> {
        let form =
            Form::new("DescribeInstances").filter(1, "tag-key", [INSTANCE]).filter(2, "instance-state-name", LIVING);
        self.page(form, cursor)
    }

    fn all(&self, form: impl Fn() -> Form) -> Result<Vec<Ec2Instance>, Fault> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (page, next) = self.page(form(), cursor.as_deref())?;
            all.extend(page);
            // A server that repeats itself would keep us for ever.
            if next.is_none() || next == cursor {
                return Ok(all);
            }
            cursor = next;
        }
    }

    fn page(&self, form: Form, cursor: Option<&str>) -> Result<Listed, Fault> {
        let mut form = form.add("MaxResults", PAGE);
        if let Some(cursor) = cursor {
            form.push("NextToken", cursor);
        }
        self.call(Effect::None, form, listed)
    }
}

/// Takes answers of this name, and no other documents.
fn named(name: &str) -> impl FnOnce(&Document) -> Option<()> {
    move |document| (document.root_element().tag_name().name() == name).then_some(())
}

/// None when it is no answer to `DescribeInstances`.
fn listed(document: &Document) -> Option<Listed> {
    let root = document.root_element();
    child(root, "reservationSet")?;
    let instances = items(root, "reservationSet").flat_map(|reservation: Node| items(reservation, "instancesSet"));
    Some((instances.filter_map(Ec2Instance::read).collect(), text(root, "nextToken").map(str::to_owned)))
}

/// The user's, ours, and a name where the user gives none: lists in consoles show it.
fn tags(request: &NodeRequest<Section>) -> Vec<(&str, &str)> {
    let own = request.scope.section.tags.iter().flatten().map(|(key, value)| (key.as_str(), &**value));
    let mut tags: Vec<(&str, &str)> = own.filter(|(key, _)| !key.starts_with("occopus.")).collect();
    if !tags.iter().any(|(key, _)| *key == "Name") {
        tags.push(("Name", &request.machine_name));
    }
    tags.extend(request.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    tags
}
