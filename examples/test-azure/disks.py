"""Managed disks; most come with virtual machines."""

import copy
import uuid

import kinds
import operations
from cloud import Resource
from errors import ArmError
from kinds import Kind
from web import Reply


class Disks(Kind):
    """Managed disks."""

    type = "Microsoft.Compute/disks"

    def put(self, cloud, request, id):
        body = request.json()
        existing = cloud.get(id, self.type)
        kinds.check_name(self.type, id.rsplit("/", 1)[1])
        location = kinds.location_of(body, self.type)
        kinds.check_place(existing, location, id.split("/")[4])
        given = copy.deepcopy(kinds.properties_of(body))
        if not given.get("creationData") and existing is None:
            raise ArmError(
                400, "InvalidParameter", "Required parameter 'creationData' is missing (null).", "creationData"
            )
        resource = existing or make(cloud, id, location, given, kinds.tags_of(body), body.get("sku"), body.get("zones"))
        if existing is not None:
            existing.properties |= given
            existing.tags = kinds.tags_of(body)
        resource.becomes("Updating")
        operation = operations.start(
            cloud, request, resource, self.provider, location, lambda error: resource.becomes("Succeeded")
        )
        return operations.accepted(cloud, request, operation, 202, resource.show(), has_location=True)

    def delete(self, cloud, request, id):
        resource = cloud.get(id, self.type)
        if resource is None:
            return Reply(204)
        machine = resource.top.get("managedBy")
        if machine:
            raise ArmError(409, "OperationNotAllowed", f"Disk {resource.name} is attached to VM {machine}.")

        def done(error):
            if error is None:
                cloud.remove(resource)

        operation = operations.start(cloud, request, resource, self.provider, resource.location, done)
        return operations.accepted(cloud, request, operation, 202, has_location=True)


def make(cloud, id, location, properties, tags, sku=None, zones=None, machine=None):
    """Creates a disk."""
    given = {"diskSizeGB": 30, "diskState": "Attached" if machine else "Unattached", "uniqueId": str(uuid.uuid4())}
    sku = {"name": "Premium_LRS", "tier": "Premium"} | (sku or {})
    disk = cloud.add(
        Resource(id, DISKS.type, location, given | properties, tags, sku=sku, zones=zones, managedBy=machine)
    )
    disk.properties["timeCreated"] = operations.timestamp(cloud.now())
    disk.becomes("Succeeded")
    return disk


def detach(disk):
    disk.top.pop("managedBy", None)
    disk.properties["diskState"] = "Unattached"


DISKS = Disks()
