"""Resource groups, subscriptions, providers, and the list of all resources by tag."""

import re
import uuid

import errors
import kinds
from errors import ArmError
from settings import LOCATIONS
from web import Reply


class Group:
    """A resource group."""

    def __init__(self, cloud, name, location, tags):
        self.name, self.location, self.tags = name, location, tags
        self.id = f"/subscriptions/{cloud.subscription}/resourceGroups/{name}"
        self.state, self.job = "Succeeded", None
        self.number, self.created = next(cloud.numbers), cloud.now()

    def show(self):
        shown = {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.location,
        }
        if self.tags is not None:
            shown["tags"] = self.tags
        return shown | {"properties": {"provisioningState": self.state}}


def find(cloud, name):
    group = cloud.groups.get(name.lower())
    if group is None:
        raise errors.group_not_found(name)
    return group


def answer(cloud, request, name, kinds_by_type):
    """Answers a request to a resource group."""
    if request.method == "HEAD":
        return Reply(204 if name.lower() in cloud.groups else 404)
    if request.method == "GET":
        return Reply(200, find(cloud, name).show())
    if request.method == "PUT":
        return put(cloud, request, name)
    if request.method == "PATCH":
        group = find(cloud, name)
        group.tags = kinds.tags_of(request.json())
        return Reply(200, group.show())
    if request.method == "DELETE":
        return delete(cloud, request, find(cloud, name), kinds_by_type)
    raise ArmError(405, "MethodNotAllowed", f"The requested resource does not support http method '{request.method}'.")


def put(cloud, request, name):
    body = request.json()
    if not re.fullmatch(r"[\w.()-]{1,90}", name) or name.endswith("."):
        message = (
            f"The provided resource group name '{name}' has these invalid characters or is too long. The name can only"
            " be a letter, digit, '-', '.', '(', ')' or '_', and must not end with '.'."
        )
        raise ArmError(400, "InvalidResourceGroup", message)
    location = body.get("location")
    if not location:
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    location = kinds.place(location)
    if location not in LOCATIONS:
        message = (
            f"The provided location '{location}' is not available for resource group. List of available regions is"
            f" '{','.join(LOCATIONS)}'."
        )
        raise ArmError(400, "LocationNotAvailableForResourceGroup", message)
    existing = cloud.groups.get(name.lower())
    if existing is None:
        group = cloud.groups[name.lower()] = Group(cloud, name, location, kinds.tags_of(body))
        return Reply(201, group.show())
    if existing.state == "Deleting":
        message = f"The resource group '{name}' is in deprovisioning state and cannot perform this operation."
        raise ArmError(409, "ResourceGroupBeingDeleted", message)
    if existing.location != location:
        message = (
            f"Invalid resource group location '{location}'. The Resource group already exists in location"
            f" '{existing.location}'."
        )
        raise ArmError(409, "InvalidResourceGroupLocation", message)
    existing.tags = kinds.tags_of(body)
    return Reply(200, existing.show())


def delete(cloud, request, group, kinds_by_type):
    """Deletes a group with everything in it, after a while."""
    if group.state != "Deleting":
        group.state, group.job = "Deleting", str(uuid.uuid4())

        def finish():
            for resource in [each for each in cloud.all() if each.group.lower() == group.name.lower()]:
                kinds_by_type[resource.type.lower()].vanish(cloud, resource)
            cloud.groups.pop(group.name.lower(), None)

        cloud.later(cloud.delay("DELETE", "resourceGroups"), finish)
    location = (
        f"{request.base}/subscriptions/{cloud.subscription}/operationresults/{group.job}?api-version={request.version}"
    )
    return Reply(202, None, {"Location": location, "Retry-After": str(cloud.settings["retry_after"] or 0)})


def operation_result(cloud, request, job):
    """Answers whether the deletion of a group goes on."""
    if any(group.job == job for group in cloud.groups.values()):
        return Reply(
            202,
            None,
            {"Location": request.base + request.target, "Retry-After": str(cloud.settings["retry_after"] or 0)},
        )
    return Reply(200)


def list_groups(cloud, request):
    entries = list(cloud.groups.values())
    wanted = request.query.get("$filter")
    if wanted:
        name, value = tag_filter(wanted)
        entries = [group for group in entries if (group.tags or {}).get(name) == value]
    return kinds.page(cloud, request, entries, Group.show)


def tag_filter(text):
    """Reads `tagName eq 'k' and tagValue eq 'v'`."""
    found = re.fullmatch(r"\s*tagName eq '((?:[^']|'')*)'(?: and tagValue eq '((?:[^']|'')*)')?\s*", text, re.I)
    if not found:
        raise ArmError(400, "InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string.")
    name, value = (part and part.replace("''", "'") for part in found.groups())
    return name, value


def resources(cloud, request, group=None):
    """Lists what has tags of its own, with ids, types and tags only. A filter by tag goes with no other."""
    cloud.ghosts = [(until, ghost) for until, ghost in cloud.ghosts if until > cloud.now()]
    entries = cloud.listed(cloud.all()) + [ghost for _, ghost in cloud.ghosts]
    entries = [each for each in entries if each.location and (group is None or each.group.lower() == group.lower())]
    wanted = request.query.get("$filter")
    if wanted and "tagname" in wanted.lower():
        if "resourcetype" in wanted.lower():
            message = "Filters by tag cannot be combined with other filters."
            raise ArmError(400, "InvalidFilterInQueryString", message)
        name, value = tag_filter(wanted)
        tagged = lambda tags: any(
            key.lower() == name.lower() and value in (None, text) for key, text in (tags or {}).items()
        )
        entries = [each for each in entries if tagged(each.tags)]
    elif wanted:
        found = re.fullmatch(r"\s*(resourceType|resourceGroup|name|location) eq '([^']*)'\s*", wanted, re.I)
        if not found:
            raise ArmError(
                400, "InvalidFilterInQueryString", f"Invalid $filter '{wanted}' specified in the query string."
            )
        field = {"resourcetype": "type", "resourcegroup": "group"}.get(found[1].lower(), found[1].lower())
        entries = [each for each in entries if getattr(each, field).lower() == found[2].lower()]

    def show(each):
        shown = {"id": each.id, "name": each.name, "type": each.type, "location": each.location}
        shown |= {key: each.top[key] for key in ("sku", "zones", "identity", "plan") if key in each.top}
        return shown | ({"tags": each.tags} if each.tags is not None else {})

    return kinds.page(cloud, request, sorted(entries, key=lambda each: each.number), show)


def provider(cloud, request, name, action=None):
    """Answers about a provider's registration, or registers it."""
    known = next((known for known in cloud.providers if known == name.lower()), None)
    if known is None:
        raise ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{name}' is invalid.")
    if request.method == "POST" and action == "register" and cloud.providers[known] != "Registered":
        cloud.providers[known] = "Registering"
        cloud.later(cloud.delay("POST", "register"), lambda: cloud.providers.update({known: "Registered"}))
    if request.method == "POST" and action == "unregister":
        cloud.providers[known] = "Unregistered"
    body = {
        "id": f"/subscriptions/{cloud.subscription}/providers/{name}",
        "namespace": name,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": cloud.providers[known],
        "resourceTypes": [],
    }
    return Reply(200, body)


def check_registered(cloud, name):
    if cloud.providers.get(name.lower()) in (None, "Registered", "Registering"):
        return
    message = (
        f"The subscription is not registered to use namespace '{name}'. See https://aka.ms/rps-not-found for how to"
        " register subscriptions."
    )
    raise ArmError(
        409,
        "MissingSubscriptionRegistration",
        message,
        details=[{"code": "MissingSubscriptionRegistration", "target": name, "message": message}],
    )


def subscription(cloud):
    return {
        "id": f"/subscriptions/{cloud.subscription}",
        "subscriptionId": cloud.subscription,
        "tenantId": cloud.tenant,
        "displayName": "Test",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }
