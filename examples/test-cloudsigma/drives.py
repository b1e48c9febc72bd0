"""Drives, those of the library, and the jobs that clone them."""

import datetime

from cloud import new_drive
from documents import checked_meta
from errors import denied, invalid, not_found


def find(cloud, kind, uuid):
    drive = cloud.get(kind, uuid)
    if drive is None and kind == "drives":
        # Those of the library are there, too.
        drive = cloud.get("libdrives", uuid)
    if drive is None:
        raise not_found(uuid)
    return drive


def create(cloud, document):
    for name in ("media", "name", "size"):
        if document.get(name) in (None, ""):
            raise invalid(name, "This field is required.")
    drive = cloud.add("drives", new_drive(document["name"], document["size"], "creating", media=document["media"]))
    drive["meta"] = checked_meta(document.get("meta", {}))
    cloud.later(cloud.settings["clone_seconds"], lambda: becomes(drive, "creating", "unmounted"))
    return drive


def becomes(drive, before, after):
    if drive["status"] == before:
        drive["status"] = after


def clone(cloud, kind, uuid, options):
    source = find(cloud, kind, uuid)
    name = options.get("name") or next_name(cloud, source["name"])
    size = max(options.get("size") or 0, source["size"])
    drive = cloud.add("drives", new_drive(name, size, "cloning_dst", media=options.get("media") or source["media"]))
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    job = cloud.add("jobs", {
        "children": [], "created": now, "data": {"progress": 0}, "last_modified": now, "operation": "drive_clone",
        "resources": [source["resource_uri"], drive["resource_uri"]], "state": "started",
    })  # fmt: skip
    drive["jobs"] = [cloud.link("jobs", job["uuid"])]

    def end():
        ends = cloud.settings["clone_ends"]
        job["state"], job["data"] = ends, {"progress": 100 if ends == "success" else 50}
        drive["jobs"] = [] if ends == "success" else drive["jobs"]
        becomes(drive, "cloning_dst", "unmounted" if ends == "success" else "unavailable")

    cloud.later(cloud.settings["clone_seconds"], end)
    return drive


def next_name(cloud, name):
    """Returns the name of a copy, by a counter."""
    names = {drive["name"] for drive in cloud.kinds["drives"].values()}
    number = 1
    while f"{name}_{number}" in names:
        number += 1
    return f"{name}_{number}"


def resize(cloud, uuid, options):
    drive = find(cloud, "drives", uuid)
    if drive["status"] != "unmounted":
        raise denied(f'Cannot resize drive in state "{drive["status"]}"')
    drive["size"], drive["status"] = options.get("size", drive["size"]), "resizing"
    cloud.later(cloud.settings["clone_seconds"], lambda: becomes(drive, "resizing", "unmounted"))
    return drive


def update(cloud, uuid, document):
    drive = find(cloud, "drives", uuid)
    for name in ("name", "allow_multimount"):
        drive[name] = document.get(name, drive[name])
    if "meta" in document:
        drive["meta"] = checked_meta(document["meta"])
    return drive


def delete(cloud, uuid):
    drive = cloud.get("drives", uuid)
    if drive is None:
        raise not_found(uuid)
    if drive["mounted_on"]:
        raise denied("Cannot delete a drive that is mounted on a guest.")
    if drive["status"] not in ("unmounted", "unavailable"):
        raise denied(f'Cannot delete drive in state "{drive["status"]}"')
    del cloud.kinds["drives"][uuid]
