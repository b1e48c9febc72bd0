"""Servers: their life, and what is refused in which state."""

from documents import MEMBERS, checked_drives, checked_links, checked_meta, checked_nics, check_scalars
from errors import SigmaError, denied, invalid, not_found, wrong_state


def create(cloud, document):
    if not isinstance(document, dict):
        raise invalid(None, "Enter a dictionary.")
    check_scalars(document)
    limit = cloud.settings["max_servers"]
    if limit is not None and len(cloud.kinds["servers"]) >= limit:
        raise denied(f"The limit of {limit} servers is reached.")
    server = {name: document.get(name, default) for name, default in MEMBERS.items()}
    server |= {name: document[name] for name in ("cpu", "mem", "name", "vnc_password")}
    server |= {"jobs": [], "owner": cloud.owner(), "runtime": None, "status": "stopped", "_until": 0}
    server["meta"] = checked_meta(document.get("meta", {}))
    server["nics"] = checked_nics(cloud, document.get("nics", []))
    server["pubkeys"] = checked_links(cloud, "keypairs", document.get("pubkeys", []), "pubkeys")
    server["tags"] = checked_links(cloud, "tags", document.get("tags", []), "tags")
    server["drives"] = []
    drives = checked_drives(cloud, document.get("drives", []), None)
    cloud.add("servers", server)
    mount(cloud, server, drives)
    return server


def mount(cloud, server, drives):
    """Attaches these drives, and no others."""
    link = {"name": server["name"]} | cloud.link("servers", server["uuid"])
    for attached in server["drives"]:
        unmount(cloud, attached["drive"]["uuid"], server["uuid"])
    for attached in drives:
        drive = cloud.get("drives", attached["drive"]["uuid"])
        drive["mounted_on"].append(link)
        drive["status"] = "mounted"
    server["drives"] = drives


def unmount(cloud, uuid, server):
    drive = cloud.get("drives", uuid)
    if drive is None:
        return
    drive["mounted_on"] = [on for on in drive["mounted_on"] if on["uuid"] != server]
    if not drive["mounted_on"] and drive["status"] == "mounted":
        drive["status"] = "unmounted"


def find(cloud, uuid):
    server = cloud.get("servers", uuid)
    if server is None:
        raise not_found(uuid)
    return server


def update(cloud, uuid, document):
    server = find(cloud, uuid)
    check_scalars(document)
    if "meta" in document:
        server["meta"] = checked_meta(document["meta"])
    server["name"] = document["name"]
    if "tags" in document:
        server["tags"] = checked_links(cloud, "tags", document["tags"], "tags")
    if server["status"] != "stopped":
        # While it runs, the rest is ignored without a word.
        return server
    changed = {name: document[name] for name in MEMBERS if name in document}
    if "nics" in document:
        changed["nics"] = checked_nics(cloud, document["nics"])
    if "pubkeys" in document:
        changed["pubkeys"] = checked_links(cloud, "keypairs", document["pubkeys"], "pubkeys")
    drives = checked_drives(cloud, document["drives"], uuid) if "drives" in document else None
    server |= changed | {name: document[name] for name in ("cpu", "mem", "vnc_password")}
    if drives is not None:
        mount(cloud, server, drives)
    return server


def act(cloud, uuid, action):
    server = find(cloud, uuid)
    state = server["status"]
    if action == "start":
        if state != "stopped":
            raise wrong_state("start", state, "stopped")
        start(cloud, server)
    elif action in ("stop", "shutdown"):
        # Which states a stop is possible in is not documented for all.
        if state not in ("running", "paused", "unavailable"):
            raise wrong_state(action, state, "running")
        stop(cloud, server, action)
    else:
        raise invalid("do", f"There is no action {action}.")
    return {"action": action, "result": "success", "uuid": uuid}


def start(cloud, server):
    balance = cloud.settings["balance"]
    if balance is not None:
        if balance <= 0:
            raise SigmaError(402, "billing", "Not enough money in the account.")
        cloud.settings["balance"] = balance - 1
    turn(cloud, server, "starting", cloud.settings["start_seconds"], lambda: runs(cloud, server))


def runs(cloud, server):
    server["status"] = "running"
    nics = [running_nic(cloud, nic) for nic in server["nics"]]
    server["runtime"] = {"active_since": "2026-11-30T17:00:00+00:00", "nics": nics}
    for nic, shown in zip(server["nics"], nics):
        nic["runtime"] = {name: value for name, value in shown.items() if name != "mac"}


def running_nic(cloud, nic):
    conf = nic["ip_v4_conf"]
    address = None
    if conf and conf["conf"] == "dhcp":
        address = cloud.take_address()
    elif conf and conf["conf"] == "static":
        address = conf["ip"]["uuid"]
    v6 = nic["ip_v6_conf"]
    return {
        "interface_type": "private" if nic["vlan"] else "public",
        "io": {"bytes_recv": 0, "bytes_sent": 0, "packets_recv": 0, "packets_sent": 0},
        "ip_v4": None if address is None else cloud.link("ips", address),
        "ip_v6": v6["ip"] if v6 else None,
        "mac": nic["mac"],
    }


def stop(cloud, server, action):
    if action == "stop":
        turn(cloud, server, "stopping", cloud.settings["stop_seconds"], lambda: stopped(server))
    elif cloud.settings["reacts_to_shutdown"]:
        turn(cloud, server, "stopping", cloud.settings["shutdown_seconds"], lambda: stopped(server))
    else:
        turn(cloud, server, "stopping", cloud.settings["shutdown_seconds"], lambda: server.update(status="running"))


def stopped(server):
    server["status"], server["runtime"] = "stopped", None
    for nic in server["nics"]:
        nic["runtime"] = None


def turn(cloud, server, status, seconds, then):
    """Changes the status for a time. What a test sets in between counts."""
    server["status"] = status
    cloud.later(seconds, lambda: then() if server["status"] == status else None)


def delete(cloud, uuid, recurse):
    server = find(cloud, uuid)
    if server["status"] != "stopped":
        raise wrong_state("delete", server["status"], "stopped")
    if recurse not in (None, "all_drives", "disks", "cdroms"):
        raise invalid("recurse", f"There is no {recurse}.")
    medium = {"disks": "disk", "cdroms": "cdrom"}.get(recurse)
    attached = [each["drive"]["uuid"] for each in server["drives"]]

    def gone():
        cloud.kinds["servers"].pop(uuid, None)
        cloud.later(cloud.settings["unmount_seconds"], free)

    def free():
        for drive in attached:
            unmount(cloud, drive, uuid)
            known = cloud.get("drives", drive)
            if recurse and known and (medium is None or known["media"] == medium):
                cloud.kinds["drives"].pop(drive, None)

    cloud.later(cloud.settings["delete_seconds"], gone)
