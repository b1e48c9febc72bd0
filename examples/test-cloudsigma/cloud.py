"""State of the cloud: its clock, and what exists."""

import copy
import threading
import time
import uuid

from settings import DEFAULTS, LIBRARY_DRIVE, OWNER, STATIC_ADDRESS, VLAN

PREFIX = "/api/2.0"


class Cloud:
    """A location with one account. One lock guards all of it."""

    def __init__(self, account):
        self.lock = threading.RLock()
        self.account = account
        self.clear()

    def clear(self):
        """Forgets everything."""
        self.settings = copy.deepcopy(DEFAULTS)
        self.offset = 0.0
        # By kind and id. Private facts of a resource have names that begin with `_`.
        self.kinds = {kind: {} for kind in ("servers", "drives", "libdrives", "jobs", "tags", "keypairs", "ips", "vlans")}
        self.events = []
        self.next_address = 1
        library = new_drive("Debian 12 Server", 10 * 2**30, "unmounted", owner=False)
        library |= {"arch": "64", "category": ["general"], "description": "Debian 12", "distribution": "Debian"}
        library |= {"image_type": "preinst", "os": "linux", "version": "12", "paid": False, "favourite": False, "url": ""}
        library |= {"install_notes": "", "uuid": LIBRARY_DRIVE}
        self.add("libdrives", library)
        common = {"grantees": [], "meta": {}, "owner": self.owner(), "permissions": [], "tags": []}
        self.add("vlans", {"uuid": VLAN, "bottom_vlan_tag": None, "servers": []} | common | self.subscription(12))
        address = {"uuid": STATIC_ADDRESS, "gateway": "94.26.101.1", "netmask": 24, "nameservers": ["178.22.66.167"]}
        self.add("ips", address | {"server": None} | common | self.subscription(13))

    @staticmethod
    def subscription(number):
        return {"subscription": {"id": number, "resource_uri": f"{PREFIX}/subscriptions/{number}/"}}

    @staticmethod
    def owner():
        return {"resource_uri": f"{PREFIX}/user/{OWNER}/", "uuid": OWNER}

    def now(self):
        return time.monotonic() + self.offset

    def advance(self, seconds):
        self.offset += seconds
        self.settle()

    def add(self, kind, resource):
        resource.setdefault("uuid", str(uuid.uuid4()))
        resource["resource_uri"] = f"{PREFIX}/{kind}/{resource['uuid']}/"
        resource["_made"] = self.now()
        self.kinds[kind][resource["uuid"]] = resource
        return resource

    def get(self, kind, uuid):
        return self.kinds[kind].get(uuid)

    def listed(self, kind):
        """Returns what lists show."""
        lag = self.settings["list_lag"]
        return [each for each in self.kinds[kind].values() if each["_made"] + lag <= self.now()]

    def later(self, seconds, what):
        """Does something after a time: at once if there is none."""
        self.events.append((self.now() + seconds, len(self.events), what))
        self.settle()

    def settle(self):
        """Does what was to happen until now, in its order."""
        while True:
            due = sorted(event[:2] for event in self.events if event[0] <= self.now())
            if not due:
                return
            event = next(event for event in self.events if event[:2] == due[0])
            self.events.remove(event)
            event[2]()

    def link(self, kind, uuid):
        return {"resource_uri": f"{PREFIX}/{kind}/{uuid}/", "uuid": uuid}

    def take_address(self):
        address = f"94.26.{100 + self.next_address // 250}.{1 + self.next_address % 250}"
        self.next_address += 1
        return address


def new_drive(name, size, status, owner=True, media="disk"):
    return {
        "affinities": [],
        "allow_multimount": False,
        "grantees": [],
        "jobs": [],
        "licenses": [],
        "media": media,
        "meta": {},
        "mounted_on": [],
        "name": name,
        "owner": Cloud.owner() if owner else None,
        "permissions": [],
        "runtime": {"is_snapshotable": True, "snapshots_allocated_size": 0, "storage_type": "dssd"},
        "size": size,
        "snapshots": [],
        "status": status,
        "storage_type": "dssd",
        "tags": [],
    }
