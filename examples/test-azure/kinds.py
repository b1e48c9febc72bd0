"""What all types of resources share: names, tags, places, reading, lists in pages."""

import base64
import fnmatch
import re

import errors
from errors import ArmError
from settings import LOCATIONS, UNZONED
from web import Reply

# Names of resources: a pattern and the longest.
NAMES = {
    "microsoft.compute/virtualmachines": (r"[A-Za-z0-9][A-Za-z0-9_.-]*(?<![.-])", 64),
    "microsoft.compute/disks": (r"[A-Za-z0-9_][A-Za-z0-9_.-]*", 80),
    "microsoft.containerinstance/containergroups": (r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", 63),
}
NETWORK_NAME = (r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?", 80)


def place(name):
    """Returns the name of a region as ids have it: `West Europe` is `westeurope`."""
    return name.replace(" ", "").lower()


def location_of(body, type):
    location = body.get("location")
    if not isinstance(location, str) or not location:
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    location = place(location)
    if location not in LOCATIONS:
        message = (
            f"The provided location '{location}' is not available for resource type '{type}'. List of available regions"
            f" for the resource type is '{','.join(LOCATIONS)}'."
        )
        raise ArmError(400, "LocationNotAvailableForResourceType", message)
    return location


def check_name(type, name):
    pattern, longest = NAMES.get(type.lower(), NETWORK_NAME)
    if len(name) <= longest and re.fullmatch(pattern, name):
        return
    if type.lower() == "microsoft.containerinstance/containergroups":
        message = (
            f"The container group name '{name}' is invalid. It must be no more than 63 characters, contain only"
            " lowercase letters, numbers and hyphens, and neither begin nor end with a hyphen."
        )
        raise ArmError(400, "InvalidContainerGroupName", message)
    message = (
        f"Resource name {name} is invalid. The name can be up to {longest} characters long. It must begin with a word"
        " character, and it must end with a word character or with '_'. The name may contain word characters or '.',"
        " '-', '_'."
    )
    raise ArmError(400, "InvalidResourceName", message, details=[])


def tags_of(body):
    tags = body.get("tags")
    if tags is None:
        return None
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise errors.invalid_content("Tags are an object of strings.")
    if len(tags) > 50:
        raise ArmError(400, "TooManyTags", f"The number of tags '{len(tags)}' exceeds the maximum of 50.")
    bad = [name for name in tags if re.search(r"[<>%&\\?/\x00-\x1f]", name)]
    if bad:
        message = f"The tag names '{','.join(bad)}' have reserved characters '<,>,%,&,\\,?,/' or control characters."
        raise ArmError(400, "InvalidTagNameCharacters", message)
    if any(not name or len(name) > 512 for name in tags):
        raise ArmError(400, "InvalidTagName", "Tag names have 1 to 512 characters.")
    if any(len(value) > 256 for value in tags.values()):
        raise ArmError(400, "TagValueTooLong", "Tag values have at most 256 characters.")
    return dict(tags)


def zones_of(body, location, type, name):
    zones = body.get("zones")
    if not zones:
        return None
    there = [] if location in UNZONED else ["1", "2", "3"]
    if not set(zones) <= set(there):
        message = (
            f"The zone(s) '{','.join(zones)}' for resource '{type}/{name}' is not supported. The supported zones for"
            f" location '{location}' are '{','.join(there)}'"
        )
        raise ArmError(400, "AvailabilityZoneNotSupported", message)
    return zones


def properties_of(body):
    properties = body.get("properties", {})
    if not isinstance(properties, dict):
        raise errors.invalid_content("Properties are an object.")
    return properties


def check_conditions(request, existing):
    """Heeds `If-None-Match: *` and `If-Match`."""
    if request.headers.get("If-None-Match") == "*" and existing is not None:
        message = f"The resource '{existing.id}' already exists, and the condition If-None-Match: * is not met."
        raise ArmError(412, "PreconditionFailed", message)
    wanted = request.headers.get("If-Match")
    if wanted and wanted != "*" and (existing is None or wanted.strip('W/"') != existing.etag):
        raise ArmError(412, "PreconditionFailed", "The condition If-Match is not met.")


def check_place(existing, location, group):
    if existing is not None and existing.location != location:
        message = (
            f"The resource '{existing.name}' already exists in location '{existing.location}' in resource group"
            f" '{group}'. A resource with the same name cannot be created in location '{location}'. Please select a new"
            " resource name."
        )
        raise ArmError(409, "InvalidResourceLocation", message)


def page(cloud, request, entries, show):
    """Returns one page of a list, with an absolute link to the next."""
    size = int(request.query.get("$top") or 0) or cloud.settings["page_size"]
    token = request.query.get("$skiptoken")
    after = 0
    if token:
        try:
            after = int(base64.urlsafe_b64decode(token.encode()))
        except ValueError:
            raise ArmError(400, "InvalidSkipToken", f"The skip token '{token}' is not valid.") from None
    rest = [entry for entry in entries if entry.number > after]
    body = {"value": [show(entry) for entry in rest[:size]]}
    if len(rest) > size or (cloud.settings["next_link_repeats"] and rest):
        last = after if cloud.settings["next_link_repeats"] and len(rest) <= size else rest[size - 1].number
        kept = "&".join(part for part in request.target.partition("?")[2].split("&") if "skiptoken" not in part.lower())
        skip = base64.urlsafe_b64encode(str(last).encode()).decode()
        base = cloud.settings["next_link_base"] or request.base
        body["nextLink"] = f"{base}{request.path}?{kept}&$skiptoken={skip}"
    return Reply(200, body)


class Kind:
    """A type of resources with a name of their own."""

    type = ""

    @property
    def provider(self):
        return self.type.split("/")[0]

    def find(self, cloud, id):
        resource = cloud.get(id, self.type)
        if not cloud.visible(resource):
            raise errors.not_found(self.type, id.rsplit("/", 1)[1], id.split("/")[4])
        return resource

    def show(self, cloud, resource, request):
        return resource.show()

    def get(self, cloud, request, id):
        return Reply(200, self.show(cloud, self.find(cloud, id), request))

    def list(self, cloud, request, group):
        return page(
            cloud, request, cloud.listed(cloud.of(self.type, group)), lambda each: self.show(cloud, each, request)
        )

    def put(self, cloud, request, id):
        raise NotImplementedError

    def delete(self, cloud, request, id):
        raise NotImplementedError

    def patch(self, cloud, request, id):
        """Changes the tags."""
        resource = self.find(cloud, id)
        body = request.json()
        if "tags" in body:
            resource.tags = tags_of(body)
        return Reply(200, self.show(cloud, resource, request))

    def post(self, cloud, request, id, action):
        raise ArmError(404, "NotFound", f"There is no action '{action}' of {self.type}.")

    def vanish(self, cloud, resource):
        """Removes a resource at once, with what goes with it."""
        cloud.remove(resource)


def matches(pattern, text):
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())
