"""Virtual machines: requests to create, change, delete and switch them."""

import copy
import uuid

import disks
import errors
import kinds
import machine_bodies as bodies
import members
import nics
import operations
from cloud import Resource
from errors import ArmError
from kinds import Kind
from nics import INTERFACES
from web import Reply

# What a later body may not change: the path in the properties, and the name that the refusal has.
FIXED = (
    ("storageProfile.imageReference", "imageReference"), ("storageProfile.osDisk.name", "osDisk.name"),
    ("osProfile.computerName", "osProfile.computerName"), ("osProfile.adminUsername", "osProfile.adminUsername"),
    ("osProfile.adminPassword", "osProfile.adminPassword"), ("osProfile.customData", "customData"),
    ("osProfile.linuxConfiguration.ssh", "linuxConfiguration.ssh.publicKeys"), ("priority", "priority"),
)


def at(value, path):
    for name in path.split("."):
        value = (value or {}).get(name)
    return value


class Machines(Kind):
    """Virtual machines."""

    type = "Microsoft.Compute/virtualMachines"

    # Reading

    def show(self, cloud, resource, request):
        shown = resource.show()
        expand = request.query.get("$expand", "").lower() if request else ""
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
        machine = self.build(cloud, id, body, location, plan)
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
        for disk in ((properties["storageProfile"].get("osDisk") or {}), *(properties["storageProfile"].get("dataDisks") or [])):
            bodies.check_option(disk, "deleteOption")
        for configuration in configurations:
            nics.check_configuration(cloud, configuration, id)
        for card in cards:
            self.check_card(cloud, card, id)
        failure = self.allocate(cloud, id, size, location, zones, spot)
        disk = at(properties, "storageProfile.osDisk.name") or f"{name}_OsDisk_1_{uuid.uuid4().hex}"
        disk_id = f"{id.split('/providers/')[0]}/providers/{disks.DISKS.type}/{disk}"
        if at(properties, "storageProfile.osDisk.createOption") != "Attach" and cloud.get(disk_id, disks.DISKS.type):
            message = f"Disk {disk} already exists in resource group {id.split('/')[4].upper()}. Only CreateOption.Attach is supported."
            raise ArmError(409, "ConflictingUserInput", message, f"/subscriptions/{cloud.subscription}/resourceGroups/{id.split('/')[4]}/providers/Microsoft.Compute/disks/{disk}")
        return {"size": size, "image": image, "windows": windows, "cards": cards, "configurations": configurations, "zones": zones,
                "spot": spot, "failure": failure, "disk": disk, "disk_id": disk_id, "tags": kinds.tags_of(body)}

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
        limit = cloud.settings["cores"]
        used = sum(bodies.cores(each.more["size"]) for each in cloud.of(self.type) if each.location == location and each.key != id.lower())
        if limit is not None and used + bodies.cores(size) > limit:
            need = bodies.cores(size)
            message = f"Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional details - Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage: {used}, Additional Required: {need}, (Minimum) New Limit Required: {used + need}. Submit a request for Quota increase at https://aka.ms/ProdportalCRP by specifying parameters listed in the 'Details' section for deployment to succeed."
            raise ArmError(409, "OperationNotAllowed", message)
        code = size[5:] if size.lower().startswith("test_") else cloud.capacity_error(self.type, location, size, spot)
        if code is None:
            return None
        if code in bodies.IN_OPERATION:
            return bodies.capacity_error(code, size, location, zones, "operation")
        raise bodies.capacity_error(code, size, location, zones, "answer")

    def build(self, cloud, id, body, location, plan):
        """Creates a machine, and the cards that its body describes."""
        given = copy.deepcopy(kinds.properties_of(body))
        made = []
        try:
            for configuration in plan["configurations"]:
                made.append((nics.from_configuration(cloud, configuration, id, location, plan["zones"]), configuration))
        except ArmError:
            for card, _ in made:
                INTERFACES.vanish(cloud, card)
            raise
        properties = {"vmId": str(uuid.uuid4())} | given
        properties["hardwareProfile"]["vmSize"] = plan["size"]
        self.complete_storage(properties, plan)
        self.complete_profile(properties, plan)
        cards = [{"id": card.id, "properties": {"primary": at(configuration, "properties.primary") is not False, "deleteOption": at(configuration, "properties.deleteOption") or "Delete"}} for card, configuration in made]
        properties["networkProfile"] = {"networkInterfaces": cards or copy.deepcopy(plan["cards"])}
        if plan["spot"]:
            properties.setdefault("evictionPolicy", "Deallocate")
        user_data = properties.pop("userData", None)
        identity = body.get("identity")
        if identity and "SystemAssigned" in identity.get("type", ""):
            identity = identity | {"principalId": str(uuid.uuid4()), "tenantId": cloud.tenant}
        top = {"zones": plan["zones"], "identity": identity, "plan": body.get("plan")}
        machine = cloud.add(Resource(id, self.type, location, properties, plan["tags"], **top))
        machine.body = copy.deepcopy(body)
        machine.more |= {"size": plan["size"], "power": None, "spot": plan["spot"], "user_data": user_data, "windows": plan["windows"]}
        properties["timeCreated"] = operations.timestamp(cloud.now())
        for card in self.cards(cloud, machine):
            card.properties |= {"virtualMachine": {"id": id}, "primary": True, "macAddress": "00-0D-3A-" + "-".join(uuid.uuid4().hex[n : n + 2].upper() for n in (0, 2, 4))}
        return machine

    def complete_storage(self, properties, plan):
        storage = properties["storageProfile"]
        image = storage.get("imageReference")
        if image and image.get("version") == "latest":
            image["exactVersion"] = "22.04.202611100"
        disk = storage.setdefault("osDisk", {"createOption": "FromImage"})
        disk |= {"osType": "Windows" if plan["windows"] else "Linux", "name": plan["disk"]}
        disk.setdefault("caching", "ReadWrite")
        disk.setdefault("managedDisk", {}).setdefault("storageAccountType", "Premium_LRS")
        disk.setdefault("deleteOption", "Detach")
        disk.setdefault("diskSizeGB", 127 if plan["windows"] else 30)
        for number, data in enumerate(storage.setdefault("dataDisks", [])):
            data.setdefault("name", f"{plan['disk'].split('_OsDisk_')[0]}_disk{number + 2}_{uuid.uuid4().hex}")
            data.setdefault("deleteOption", "Detach")
            data.setdefault("managedDisk", {}).setdefault("storageAccountType", "Premium_LRS")

    def complete_profile(self, properties, plan):
        profile = properties.get("osProfile")
        if profile is None:
            return
        for secret in ("adminPassword", "customData"):
            profile.pop(secret, None)
        profile |= {"secrets": [], "allowExtensionOperations": True, "requireGuestProvisionSignal": True}
        if plan["windows"]:
            windows = profile.setdefault("windowsConfiguration", {})
            profile["windowsConfiguration"] = {"provisionVMAgent": True, "enableAutomaticUpdates": True, "patchSettings": {"patchMode": "AutomaticByOS"}} | windows
        else:
            linux = profile.setdefault("linuxConfiguration", {})
            profile["linuxConfiguration"] = {"disablePasswordAuthentication": False, "provisionVMAgent": True, "patchSettings": {"patchMode": "ImageDefault"}} | linux

    def provision(self, cloud, request, machine, body, plan, status):
        """Starts the operation at whose end the machine runs, or has failed."""
        machine.becomes("Creating")
        machine.more["power"], machine.more["failed"] = None, None
        seconds = cloud.delay("PUT", self.type)

        def starts():
            if machine.state == "Creating" and plan["failure"] is None:
                self.make_disks(cloud, machine, plan)
                machine.more["power"] = "starting"

        def done(error):
            if error is None:
                self.make_disks(cloud, machine, plan)
                machine.more["power"] = "running"
                return machine.becomes("Succeeded")
            machine.more["failed"] = error
            machine.more["power"] = None
            until = cloud.now() + cloud.settings["nic_reserved"]
            for card in self.cards(cloud, machine):
                card.more["reserved"] = (until, machine.id)
            machine.becomes("Failed")

        cloud.later(seconds / 2, starts)
        operation = operations.start(cloud, request, machine, self.provider, machine.location, done, plan["failure"], seconds)
        machine.more["operation"] = operation
        return operations.accepted(cloud, request, operation, status, self.show(cloud, machine, None))

    def make_disks(self, cloud, machine, plan):
        storage = machine.properties["storageProfile"]
        base = machine.id.split("/providers/")[0] + f"/providers/{disks.DISKS.type}/"
        for disk in (storage["osDisk"], *storage["dataDisks"]):
            if "id" in disk["managedDisk"]:
                continue
            id = base + disk["name"]
            disk["managedDisk"]["id"] = id
            given = {"creationData": {"createOption": disk.get("createOption", "FromImage")}, "diskSizeGB": disk.get("diskSizeGB", 30)}
            if "osType" in disk:
                given["osType"] = disk["osType"]
            sku = {"name": disk["managedDisk"]["storageAccountType"]}
            # The tags of a machine are not those of its disks.
            disks.make(cloud, id, machine.location, given, None, sku, plan["zones"], machine.id)

    def cards(self, cloud, machine):
        found = (cloud.get(card["id"], INTERFACES.type) for card in machine.properties["networkProfile"]["networkInterfaces"])
        return [card for card in found if card is not None]

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
        operation = operations.start(cloud, request, machine, self.provider, machine.location, lambda error: machine.becomes("Failed" if error else "Succeeded"))
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
                if at(each, "properties.deleteOption") == "Delete":
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
                raise ArmError(409, "OperationNotAllowed", f"Operation 'simulateEviction' is not allowed on VM '{machine.name}' since it is not an Azure Spot Virtual Machine.")
            cloud.later(cloud.delay("POST", self.type), lambda: self.evict(cloud, machine))
            return Reply(204)
        between, after = {
            "start": ("starting", "running"), "restart": ("running", "running"), "redeploy": ("running", "running"),
            "reapply": (None, None), "poweroff": ("stopping", "stopped"), "deallocate": ("deallocating", "deallocated"),
        }.get(action, ("", ""))
        if after == "":
            return super().post(cloud, request, id, action)
        if machine.state == "Deleting":
            raise errors.being_deleted(action, machine.name)
        if action == "restart" and machine.more["power"] != "running":
            raise ArmError(409, "OperationNotAllowed", f"Cannot restart VM '{machine.name}' since it is not running.")
        if machine.state == "Creating":
            raise ArmError(409, "Conflict", f"The request failed due to conflict with a concurrent request. To resolve it, please refer to https://aka.ms/activitylog to get more details on the conflicting requests.")
        if action == "start" and machine.more["power"] == "deallocated":
            failure = self.allocate(cloud, machine.id, machine.more["size"], machine.location, machine.top.get("zones"), machine.more["spot"])
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


def instance_view(cloud, machine):
    """Returns what is known of the machine at this moment."""
    state, failed = machine.state.lower(), machine.more.get("failed")
    provisioning = {"code": f"ProvisioningState/{state}", "level": "Info", "displayStatus": "Provisioning " + ("succeeded" if state == "succeeded" else state), "time": operations.timestamp(cloud.now())}
    if state == "failed" and failed is not None:
        provisioning |= {"code": f"ProvisioningState/failed/{failed.code}", "level": "Error", "displayStatus": "Provisioning failed", "message": failed.message}
    statuses = [provisioning]
    power = machine.more["power"]
    if power:
        statuses.append({"code": f"PowerState/{power}", "level": "Info", "displayStatus": f"VM {power}"})
    view = {"statuses": statuses, "hyperVGeneration": "V2"}
    disk = machine.properties["storageProfile"]["osDisk"]
    if "id" in disk["managedDisk"]:
        view["disks"] = [{"name": disk["name"], "statuses": [{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}]}]
    if power == "running":
        view |= {"computerName": (machine.properties.get("osProfile") or {}).get("computerName"), "osName": "ubuntu", "osVersion": "22.04"}
        view["vmAgent"] = {"vmAgentVersion": "2.11.1.4", "statuses": [{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Ready", "message": "Guest Agent is running"}]}
    return view


MACHINES = Machines()
