"""What the types of Microsoft.Network share: they are there at once, and their operations go on for a while."""

import uuid

import kinds
import operations
from cloud import Resource
from errors import ArmError
from kinds import Kind
from web import Reply


class NetworkKind(Kind):
    """A type of Microsoft.Network: what `build` returns is there at once, and its operation goes on for a while."""

    def build(self, cloud, request, id, body, existing):
        """Returns the resource's properties and what else is shown beside them."""
        raise NotImplementedError

    def has_location(self):
        return True

    def put(self, cloud, request, id):
        body = request.json()
        existing = cloud.get(id, self.type)
        kinds.check_name(self.type, id.rsplit("/", 1)[1])
        kinds.check_conditions(request, existing)
        location = kinds.location_of(body, self.type) if self.has_location() else None
        kinds.check_place(existing, location, id.split("/")[4])
        self.check_idle(cloud, id)
        properties, top = self.build(cloud, request, id, body, existing)
        resource = existing
        if existing is None:
            resource = cloud.add(Resource(id, self.type, location, properties, kinds.tags_of(body), **top))
            resource.more["guid"] = str(uuid.uuid4())
        else:
            existing.properties, existing.top = properties, top
            existing.tags = kinds.tags_of(body)
        if self.has_location():
            resource.properties["resourceGuid"] = resource.more["guid"]
        resource.becomes("Updating")
        self.placed(cloud, resource, body)

        def done(error):
            self.settled(cloud, resource, "Failed" if error else "Succeeded")

        operation = operations.start(cloud, request, resource, self.provider, resource_location(cloud, resource), done)
        resource.more["operation"] = operation
        shown = self.show(cloud, resource, request)
        return operations.accepted(cloud, request, operation, 200 if existing else 201, shown)

    def placed(self, cloud, resource, body):
        """Does what follows from the resource's being there."""

    def settled(self, cloud, resource, state):
        """Ends the operation on a resource."""
        resource.becomes(state)

    def check_idle(self, cloud, id):
        """Refuses a change while another one goes on that this type cannot have beside it."""

    def show(self, cloud, resource, request):
        shown = resource.show()
        return {"name": shown.pop("name"), "id": shown.pop("id"), "etag": f'W/"{resource.etag}"'} | shown

    def check_unused(self, cloud, resource):
        """Refuses the deletion of what is in use."""

    def delete(self, cloud, request, id):
        resource = cloud.get(id, self.type)
        if resource is None:
            return Reply(204)
        self.check_idle(cloud, id)
        self.check_unused(cloud, resource)
        resource.becomes("Deleting")

        def done(error):
            if error is None:
                self.vanish(cloud, resource)
            else:
                resource.becomes("Failed")

        operation = operations.start(cloud, request, resource, self.provider, resource_location(cloud, resource), done)
        resource.more["operation"] = operation
        return operations.accepted(cloud, request, operation, 202, has_location=True)


def retryable(cloud, code, message):
    """Returns the refusal of what will be possible in a moment."""
    wait = cloud.settings["retry_after"]
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return ArmError(
        429,
        "RetryableError",
        "A retryable error occurred.",
        details=[{"code": code, "message": message}],
        headers=headers,
    )


def check_provisioned(cloud, resource, user_id):
    """Refuses to use what is still being changed."""
    if cloud.settings["network_conflicts"] and resource.state in ("Updating", "Deleting"):
        kind = resource.type.rsplit("/", 1)[1]
        verb = "Delete" if resource.state == "Deleting" else "Put"
        message = (
            f"Cannot proceed with operation because resource {resource.id} used by resource {user_id} is not in"
            f" Succeeded state. Resource is in {resource.state} state and the last operation that updated/is updating"
            f" the resource is {verb}{kind[0].upper()}{kind[1:].rstrip('s')}Operation."
        )
        raise retryable(cloud, "ReferencedResourceNotProvisioned", message)


def resource_location(cloud, resource):
    if resource.location:
        return resource.location
    parent = cloud.get(resource.id.rsplit("/", 2)[0])
    return parent.location if parent else "eastus"
