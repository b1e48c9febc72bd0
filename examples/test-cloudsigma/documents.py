"""Documents of servers: their members, what they must be, and how they are shown."""

import uuid

from errors import SigmaError, invalid

# Members with the values that they have when they are left out.
MEMBERS = {
    "context": True,
    "cpu_model": None,
    "cpu_type": "amd",
    "cpus_instead_of_cores": False,
    "enable_numa": False,
    "grantees": [],
    "hv_relaxed": False,
    "hv_tsc": False,
    "hypervisor": "kvm",
    "permissions": [],
    "requirements": [],
    "smp": 1,
}
REQUIRED = ("cpu", "mem", "name", "vnc_password")
MIN_CPU, MIN_MEM = 250, 256 * 1024 * 1024
MAX_META_KEY = 32


def id_of(value):
    """Returns the id in a link, which may be the id itself, a URI or an object."""
    if isinstance(value, dict):
        value = value.get("uuid") or value.get("resource_uri")
    if not isinstance(value, str):
        raise invalid(None, f"{value!r} is not a reference")
    return value.strip("/").rsplit("/", 1)[-1]


def check_scalars(document):
    for name in REQUIRED:
        if document.get(name) in (None, ""):
            raise invalid(name, "This field is required.")
    for name, least in (("cpu", MIN_CPU), ("mem", MIN_MEM)):
        value = document[name]
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(name, "Enter a whole number.")
        if value < least:
            raise invalid(name, f"Ensure this value is greater than or equal to {least}.")
    smp = document.get("smp", 1)
    if isinstance(smp, bool) or not isinstance(smp, int) or smp < 1:
        raise invalid("smp", "Enter a whole number.")
    for name in ("context", "enable_numa", "hv_relaxed", "hv_tsc", "cpus_instead_of_cores"):
        if not isinstance(document.get(name, False), bool):
            raise invalid(name, "Enter true or false.")
    for name, choices in (("hypervisor", ("kvm", "solaris-kz")), ("cpu_type", ("amd", "intel", "sparc_t4", "sparc_t5", "vmware"))):
        if document.get(name, choices[0]) not in choices:
            raise invalid(name, f"Select one of {', '.join(choices)}.")


def checked_meta(meta):
    if not isinstance(meta, dict):
        raise invalid("meta", "Enter a dictionary.")
    for key, value in meta.items():
        if len(key) > MAX_META_KEY:
            raise invalid("meta", f"The key {key} is longer than {MAX_META_KEY} characters.")
        if not isinstance(value, str):
            raise invalid("meta", f"The value of {key} is not a text.")
    return dict(meta)


def checked_links(cloud, kind, values, point):
    if not isinstance(values, list):
        raise invalid(point, "Enter a list.")
    found = []
    for value in values:
        uuid = id_of(value)
        if cloud.get(kind, uuid) is None:
            raise SigmaError(400, "notexist", f"Object with uuid {uuid} does not exist.", point)
        # `pubkeys` are `keypairs` by their older name.
        found.append(cloud.link("pubkeys" if kind == "keypairs" else kind, uuid))
    return found


def checked_nics(cloud, nics):
    if not isinstance(nics, list):
        raise invalid("nics", "Enter a list.")
    return [checked_nic(cloud, nic) for nic in nics]


def checked_nic(cloud, nic):
    if not isinstance(nic, dict):
        raise invalid("nics", "Enter a dictionary.")
    vlan, v4, v6 = nic.get("vlan"), nic.get("ip_v4_conf"), nic.get("ip_v6_conf")
    if vlan is not None and (v4 is not None or v6 is not None):
        raise invalid("nics.vlan", "A NIC is either public or private.")
    if vlan is not None:
        vlan = checked_links(cloud, "vlans", [vlan], "nics.vlan")[0]
    shown = {
        "boot_order": nic.get("boot_order"),
        "ip_v4_conf": checked_conf(cloud, v4, "nics.ip_v4_conf"),
        "ip_v6_conf": checked_conf(cloud, v6, "nics.ip_v6_conf"),
        "mac": nic.get("mac") or "22:" + ":".join(uuid.uuid4().hex[n : n + 2] for n in range(0, 10, 2)),
        "model": nic.get("model", "virtio"),
        "runtime": None,
        "vlan": vlan,
    }
    if nic.get("firewall_policy") is not None:
        shown["firewall_policy"] = cloud.link("fwpolicies", id_of(nic["firewall_policy"]))
    return shown


def checked_conf(cloud, conf, point):
    if conf is None:
        return None
    if not isinstance(conf, dict) or conf.get("conf") not in ("dhcp", "static", "manual"):
        raise invalid(f"{point}.conf", "Select one of dhcp, static, manual.")
    ip = conf.get("ip")
    if conf["conf"] == "static" and ip is None:
        raise invalid(f"{point}.ip", "A static configuration needs an IP.")
    if conf["conf"] == "dhcp" and ip is not None:
        raise invalid(f"{point}.ip", "A DHCP configuration must not have an IP.")
    return {"conf": conf["conf"], "ip": None if ip is None else checked_links(cloud, "ips", [ip], f"{point}.ip")[0]}


def checked_drives(cloud, drives, server):
    """Checks attachments; a drive is on one server only, and each channel of a device has one drive."""
    if not isinstance(drives, list):
        raise invalid("drives", "Enter a list.")
    shown, places = [], set()
    for each in drives:
        if not isinstance(each, dict):
            raise invalid("drives", "Enter a dictionary.")
        link = checked_links(cloud, "drives", [each.get("drive")], "drives.drive")[0]
        drive = cloud.get("drives", link["uuid"])
        others = [on for on in drive["mounted_on"] if on["uuid"] != server]
        if others and not drive["allow_multimount"]:
            raise invalid("drives.drive", f"The drive {drive['uuid']} is already mounted.")
        if drive["status"] not in ("unmounted", "mounted"):
            raise SigmaError(403, "permission", f'Cannot mount a drive in state "{drive["status"]}"', "drives.drive")
        device, channel = each.get("device", "virtio"), each.get("dev_channel")
        if device not in ("virtio", "ide", "scsi") or not isinstance(channel, str):
            raise invalid("drives.dev_channel", "Give a device and its channel.")
        if (device, channel) in places:
            raise invalid("drives.dev_channel", f"The channel {channel} of {device} is used twice.")
        places.add((device, channel))
        shown.append({"boot_order": each.get("boot_order"), "dev_channel": channel, "device": device, "drive": link, "runtime": None})
    return shown
