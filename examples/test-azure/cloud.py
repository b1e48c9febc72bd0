"""State of the cloud: its clock, what exists, and what is going to happen."""

import copy
import heapq
import itertools
import threading
import time
import uuid

from settings import DEFAULTS, PROVIDERS


class Resource:
    """A resource of any type, with its properties as they are answered."""

    def __init__(self, id, type, location, properties, tags=None, **top):
        self.id, self.key, self.type, self.location = id, id.lower(), type, location
        self.name = id.rsplit("/", 1)[1]
        self.group = id.split("/")[4]
        self.properties, self.tags, self.top = properties, tags, {k: v for k, v in top.items() if v is not None}
        self.etag = str(uuid.uuid4())
        self.number = 0
        self.created = 0.0
        # The original body; what is never answered; and what the type keeps for itself.
        self.body, self.more = {}, {}

    @property
    def state(self):
        return self.properties.get("provisioningState")

    def becomes(self, state):
        self.properties["provisioningState"] = state
        self.etag = str(uuid.uuid4())

    def show(self):
        shown = {"name": self.name, "id": self.id, "type": self.type}
        if self.location:
            shown["location"] = self.location
        if self.tags is not None:
            shown["tags"] = dict(self.tags)
        shown |= copy.deepcopy(self.top)
        shown["properties"] = copy.deepcopy(self.properties)
        return shown


class Cloud:
    """A subscription with everything in it. One lock guards all of it."""

    def __init__(self, subscription, tenant):
        self.lock = threading.RLock()
        self.subscription, self.tenant = subscription, tenant
        self.clear()

    def clear(self):
        """Forgets everything."""
        self.settings = copy.deepcopy(DEFAULTS)
        self.offset = 0.0
        self.numbers = itertools.count(1)
        self.events = []
        self.groups, self.by_type, self.ghosts = {}, {}, []
        self.operations = {}
        self.providers = {name.lower(): "Registered" for name in PROVIDERS}
        self.capacity, self.locks, self.policies, self.links = [], [], [], {}
        self.public_count = 0

    # Time

    def now(self):
        return time.time() + self.offset

    def advance(self, seconds):
        """Lets time pass at once, with everything that happens meanwhile."""
        self.offset += seconds
        self.settle()

    def later(self, seconds, event):
        """Calls a function when this time has passed."""
        heapq.heappush(self.events, (self.now() + seconds, next(self.numbers), event))

    def settle(self):
        """Does what is due. Called with the lock, before each request."""
        now = self.now()
        while self.events and self.events[0][0] <= now:
            heapq.heappop(self.events)[2]()

    def delay(self, method, type):
        delays = {key.lower(): value for key, value in self.settings["delays"].items()}
        for key in (f"{method} {type}", type, method):
            if key.lower() in delays:
                return delays[key.lower()]
        return delays.get("default", 0)

    # Resources

    def add(self, resource):
        resource.number, resource.created = next(self.numbers), self.now()
        self.by_type.setdefault(resource.type.lower(), {})[resource.key] = resource
        return resource

    def get(self, id, type=None):
        """Returns the resource with this id, whatever the case of its letters."""
        key = id.lower()
        types = [type] if type else list(self.by_type)
        for name in types:
            found = self.by_type.get(name.lower(), {}).get(key)
            if found is not None:
                return found
        return None

    def remove(self, resource):
        if self.by_type.get(resource.type.lower(), {}).pop(resource.key, None) and self.settings["list_ghosts"]:
            self.ghosts.append((self.now() + self.settings["list_ghosts"], resource))

    def of(self, type, group=None):
        """Returns the resources of a type, of one group or of all, in the order in which they were created."""
        found = self.by_type.get(type.lower(), {}).values()
        if group is not None:
            found = [resource for resource in found if resource.group.lower() == group.lower()]
        return list(found)

    def listed(self, resources):
        """Drops what is too new to be listed."""
        oldest = self.now() - self.settings["list_lag"]
        return [resource for resource in resources if resource.created <= oldest]

    def visible(self, resource):
        return resource is not None and resource.created <= self.now() - self.settings["get_lag"]

    def all(self):
        return [resource for kind in self.by_type.values() for resource in kind.values()]

    def public_address(self):
        import ipaddress

        network = ipaddress.ip_network(self.settings["public_network"])
        self.public_count += 1
        return str(network[1 + self.public_count % (network.num_addresses - 2)])

    def capacity_error(self, type, location, size, spot=False):
        """Returns the refusal that a test has set for this type, place and size, and counts it."""
        for rule in self.capacity:
            fits = (
                rule.get("type", type).lower() == type.lower()
                and (rule.get("location") or location).lower() == location.lower()
                and (rule.get("size") or size).lower() == size.lower()
                and rule.get("spot", spot) == spot
            )
            if fits and rule["times"] != 0:
                if rule["times"] is not None:
                    rule["times"] -= 1
                return rule["code"]
        return None
