"""Virtual machines: requests to create, change, delete and switch them."""

import uuid

import capacity
import disks
import errors
import kinds
import machine_bodies as bodies
import members
import nics
import operations
from errors import ArmError
from kinds import Kind
from machine_building import TYPE, at, build, cards_of, instance_view, make_disks
from nics import INTERFACES
from web import Reply

# What a later body may not change: the path in the properties, and the name that the refusal has.
FIXED = (
    ("storageProfile.imageReference", "imageReference"),
    ("storageProfile.osDisk.name", "osDisk.name"),
    ("osProfile.computerName", "osProfile.computerName"),
    ("osProfile.adminUsername", "osProfile.adminUsername"),
    ("osProfile.adminPassword", "osProfile.adminPassword"),
    ("osProfile.customData", "customData"),
    ("osProfile.linuxConfiguration.ssh", "linuxConfiguration.ssh.publicKeys"),
    ("priority", "priority"),
)


class Machines(Kind):
    """Virtual machines."""

    type = TYPE

    # Reading

    def show(self, cloud, resource, request):
        shown = resource.show()
        expand = request.query.get("$expand", "").lower() if request else ""
        if request and request.query.get("statusonly") and cloud.settings["sparse_status"]:
            view = instance_view(cloud, resource)
            properties = {"provisioningState": resource.state, "vmId": resource.properties["vmId"], "instanceView": view}
            return {"id": resource.id, "name": resource.name, "properties": properties}
        if "instanceview" in expand.split(",") or (request and request.query.get("statusonly", "").lower() == "true"):
            shown["properties"]["instanceView"] = instance_view(cloud, resource)
        if "userdata" in expand.split(",") and resource.more.get("user_data"):
            shown["properties"]["userData"] = resource.more["user_data"]
        return shown

    def get(self, cloud, request, id):
        if request.action == "instanceview":
            return Reply(200, instance_view(cloud, self.find(cloud, id)))
        return super().get(cloud, request, id)

    def list(self, cloud, request, group):
        if group is not None and request.query.get("statusonly"):
            request.query.pop("statusonly")
        return super().list(cloud, request, group)

    # Creating and changing

    def put(self, cloud, request, id):
        body = request.json()
        name, existing = id.rsplit("/", 1)[1], cloud.get(id, self.type)
        kinds.check_name(self.type, name)
        kinds.check_conditions(request, existing)
        location = kinds.location_of(body, self.type)
        kinds.check_place(existing, location, id.split("/")[4])
        if existing is not None:
            return self.update(cloud, request, existing, body)
        plan = self.plan(cloud, request, id, body, location)
        machine = build(cloud, id, body, location, plan)
        return self.provision(cloud, request, machine, body, plan, 201)

    def plan(self, cloud, request, id, body, location):
        """Checks a body whole, before anything is made of it."""
        properties, name = kinds.properties_of(body), id.rsplit("/", 1)[1]
        size = bodies.check_size(properties, location)
        image, windows = bodies.check_image(cloud, body, properties)
        bodies.check_profile(properties, image, windows)
        cards, configurations = bodies.check_network(properties)
        zones = kinds.zones_of(body, location, self.type, name)
        spot = bodies.check_priority(properties)
        for disk in (
            (properties["storageProfile"].get("osDisk") or {}),
            *(properties["storageProfile"].get("dataDisks") or []),
        ):
            bodies.check_option(disk, "deleteOption")
        for configuration in configurations:
            nics.check_configuration(cloud, configuration, id)
        for card in cards:
            self.check_card(cloud, card, id)
        failure = self.allocate(cloud, id, size, location, zones, spot)
        disk = at(properties, "storageProfile.osDisk.name") or f"{name}_OsDisk_1_{uuid.uuid4().hex}"
        disk_id = f"{id.split('/providers/')[0]}/providers/{disks.DISKS.type}/{disk}"
        if at(properties, "storageProfile.osDisk.createOption") != "Attach" and cloud.get(disk_id, disks.DISKS.type):
            message = (
                f"Disk {disk} already exists in resource group {id.split('/')[4].upper()}. Only CreateOption.Attach is"
                " supported."
            )
            raise ArmError(
                409,
                "ConflictingUserInput",
                message,
                f"/subscriptions/{cloud.subscription}/resourceGroups/{id.split('/')[4]}/providers/Microsoft.Compute/disks/{disk}",
            )
        return {
            "size": size,
            "image": image,
            "windows": windows,
            "cards": cards,
            "configurations": configurations,
            "zones": zones,
            "spot": spot,
            "failure": failure,
            "disk": disk,
            "disk_id": disk_id,
            "tags": kinds.tags_of(body),
        }

    def check_card(self, cloud, card, id):
        found = cloud.get(card.get("id") or "", INTERFACES.type)
        if found is None:
            raise errors.reference_not_found(card.get("id"), id)
        user = found.properties.get("virtualMachine")
        if user and user["id"].lower() != id.lower():
            raise nics.in_use(found, user["id"])
        reserved = found.more.get("reserved")
        if reserved and reserved[0] > cloud.now() and reserved[1].lower() != id.lower():
            raise nics.reserved_for(reserved[1])

    def allocate(self, cloud, id, size, location, zones, spot):
        """Refuses what is beyond quota or capacity; returns the failure that the operation is to end with, if any."""
        limit, needed = cloud.settings["cores"], bodies.cores(size)
        others = [each for each in cloud.of(self.type) if each.location == location and each.key != id.lower()]
        used = sum(bodies.cores(each.more["size"]) for each in others)
        if limit is not None and used + needed > limit:
            raise capacity.beyond_quota("OperationNotAllowed", location, limit, used, needed)
        asked = size.lower().startswith("test_")
        code = size[len("test_") :] if asked else cloud.capacity_error(self.type, location, size, spot)
        if code is None:
            return None
        error = capacity.error(code, size, location, zones)
        if code in capacity.IN_OPERATION:
            return error
        raise error

    def provision(self, cloud, request, machine, body, plan, status):
        """Starts the operation at whose end the machine runs, or has failed."""
        machine.becomes("Creating")
        machine.more["power"], machine.more["failed"] = None, None
        seconds = cloud.delay("PUT", self.type)

        def starts():
            if machine.state == "Creating" and plan["failure"] is None:
                make_disks(cloud, machine, plan)
                machine.more["power"] = "starting"

        def done(error):
            if error is None:
                make_disks(cloud, machine, plan)
                machine.more["power"] = "running"
                return machine.becomes("Succeeded")
            machine.more["failed"] = error
            machine.more["power"] = None
            until = cloud.now() + cloud.settings["nic_reserved"]
            for card in cards_of(cloud, machine):
                card.more["reserved"] = (until, machine.id)
            machine.becomes("Failed")

        cloud.later(seconds / 2, starts)
        operation = operations.start(
            cloud, request, machine, self.provider, machine.location, done, plan["failure"], seconds
        )
        machine.more["operation"] = operation
        return operations.accepted(cloud, request, operation, status, self.show(cloud, machine, None))

    def update(self, cloud, request, machine, body):
        if machine.state == "Deleting":
            raise errors.being_deleted("Create or Update", machine.name)
        tags, properties = kinds.tags_of(body), kinds.properties_of(body)
        for path, name in FIXED:
            new, old = at(properties, path), at(kinds.properties_of(machine.body), path)
            if new is not None and new != old:
                raise errors.change_not_allowed(name)
        if body.get("zones", machine.top.get("zones")) != machine.top.get("zones"):
            raise errors.change_not_allowed("zones")
        machine.tags = tags
        if machine.state == "Failed":
            plan = self.plan_again(cloud, machine, body)
            return self.provision(cloud, request, machine, body, plan, 200)
        if machine.state == "Creating":
            return operations.accepted(cloud, request, machine.more["operation"], 200, self.show(cloud, machine, None))
        return self.change(cloud, request, machine, properties)

    def plan_again(self, cloud, machine, body):
        size = bodies.check_size(kinds.properties_of(body), machine.location)
        zones = machine.top.get("zones")
        failure = self.allocate(cloud, machine.id, size, machine.location, zones, machine.more["spot"])
        machine.more["size"] = machine.properties["hardwareProfile"]["vmSize"] = size
        return {"failure": failure, "zones": zones}

    def change(self, cloud, request, machine, properties):
        """Changes size, data for the user, and what goes with the machine when it is deleted."""
        size = at(properties, "hardwareProfile.vmSize")
        if size:
            machine.more["size"] = bodies.check_size(properties, machine.location)
            machine.properties["hardwareProfile"]["vmSize"] = machine.more["size"]
        if "userData" in properties:
            machine.more["user_data"] = properties["userData"]
        option = at(properties, "storageProfile.osDisk.deleteOption")
        if option:
            machine.properties["storageProfile"]["osDisk"]["deleteOption"] = option
        for card in at(properties, "networkProfile.networkInterfaces") or []:
            for own in machine.properties["networkProfile"]["networkInterfaces"]:
                if own["id"].lower() == (card.get("id") or "").lower():
                    own.setdefault("properties", {}).update(card.get("properties") or {})
        machine.becomes("Updating")
        operation = operations.start(
            cloud,
            request,
            machine,
            self.provider,
            machine.location,
            lambda error: machine.becomes("Failed" if error else "Succeeded"),
        )
        return operations.accepted(cloud, request, operation, 200, self.show(cloud, machine, None))

    def patch(self, cloud, request, id):
        machine, body = self.find(cloud, id), request.json()
        members.check(self.type, request.version, body)
        if machine.state == "Deleting":
            raise errors.being_deleted("Update", machine.name)
        if "tags" in body:
            machine.tags = kinds.tags_of(body)
        return self.change(cloud, request, machine, kinds.properties_of(body))

    # Deleting

    def delete(self, cloud, request, id):
        machine = cloud.get(id, self.type)
        if machine is None:
            return Reply(204)
        if machine.more.get("operation"):
            machine.more["operation"].cancel(cloud)
        machine.becomes("Deleting")
        quick = request.query.get("forcedeletion", "").lower() == "true"
        seconds = cloud.delay("DELETE", self.type) / (2 if quick else 1)

        def done(error):
            if error is not None:
                return machine.becomes("Failed")
            if cloud.get(id, self.type) is machine:
                self.vanish(cloud, machine)

        operation = operations.start(cloud, request, machine, self.provider, machine.location, done, None, seconds)
        return operations.accepted(cloud, request, operation, 202, has_location=True)

    def vanish(self, cloud, machine):
        """Removes a machine, and what is to go with it; the rest is let go."""
        cloud.remove(machine)
        going = []
        storage = machine.properties["storageProfile"]
        for each in (storage["osDisk"], *storage["dataDisks"]):
            disk = cloud.get(each["managedDisk"].get("id") or "", disks.DISKS.type)
            if disk:
                disks.detach(disk)
                if each["deleteOption"] == "Delete":
                    going.append((disks.DISKS, disk))
        for each in machine.properties["networkProfile"]["networkInterfaces"]:
            card = cloud.get(each["id"], INTERFACES.type)
            if card:
                card.properties.pop("virtualMachine", None)
                reserved = card.more.get("reserved")
                if at(each, "properties.deleteOption") == "Delete" and not (reserved and reserved[0] > cloud.now()):
                    going.append((INTERFACES, card))

        def end():
            for kind, resource in going:
                if cloud.get(resource.id, resource.type) is resource:
                    kind.vanish(cloud, resource)

        if cloud.settings["dependents_lag"]:
            return cloud.later(cloud.settings["dependents_lag"], end)
        return end()

    # Switching

    def post(self, cloud, request, id, action):
        machine = self.find(cloud, id)
        if action == "simulateeviction":
            if not machine.more["spot"]:
                raise ArmError(
                    409,
                    "OperationNotAllowed",
                    f"Operation 'simulateEviction' is not allowed on VM '{machine.name}' since it is not an Azure Spot"
                    " Virtual Machine.",
                )
            cloud.later(cloud.delay("POST", self.type), lambda: self.evict(cloud, machine))
            return Reply(204)
        between, after = {
            "start": ("starting", "running"),
            "restart": ("running", "running"),
            "redeploy": ("running", "running"),
            "reapply": (None, None),
            "poweroff": ("stopping", "stopped"),
            "deallocate": ("deallocating", "deallocated"),
        }.get(action, ("", ""))
        if after == "":
            return super().post(cloud, request, id, action)
        if machine.state == "Deleting":
            raise errors.being_deleted(action, machine.name)
        if action == "restart" and machine.more["power"] != "running":
            raise ArmError(409, "OperationNotAllowed", f"Cannot restart VM '{machine.name}' since it is not running.")
        if machine.state == "Creating":
            raise ArmError(
                409,
                "Conflict",
                "The request failed due to conflict with a concurrent request. To resolve it, please refer to"
                " https://aka.ms/activitylog to get more details on the conflicting requests.",
            )
        if action == "start" and machine.more["power"] == "deallocated":
            failure = self.allocate(
                cloud,
                machine.id,
                machine.more["size"],
                machine.location,
                machine.top.get("zones"),
                machine.more["spot"],
            )
        else:
            failure = None
        machine.more["power"] = between or machine.more["power"]
        machine.becomes("Updating")

        def done(error):
            if error is None:
                machine.more["power"] = after or machine.more["power"]
                return machine.becomes("Succeeded")
            machine.more["power"], machine.more["failed"] = "deallocated", error
            machine.becomes("Failed")

        operation = operations.start(cloud, request, machine, self.provider, machine.location, done, failure)
        return operations.accepted(cloud, request, operation, 202, has_location=True)

    def evict(self, cloud, machine):
        """Takes a Spot machine away: it is deallocated, or gone."""
        if cloud.get(machine.id, self.type) is not machine:
            return
        if machine.properties.get("evictionPolicy") == "Delete":
            return self.vanish(cloud, machine)
        machine.more["power"] = "deallocated"


MACHINES = Machines()
