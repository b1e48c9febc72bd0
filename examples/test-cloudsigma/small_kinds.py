"""Tags and key pairs, which refer to other things or are referred to."""

import base64
import hashlib

from documents import id_of
from errors import invalid, not_found

TAGGED = ("servers", "drives", "ips", "vlans")


def create_tag(cloud, document):
    if not document.get("name"):
        raise invalid("name", "This field is required.")
    tag = cloud.add("tags", {"meta": document.get("meta") or {}, "name": document["name"], "owner": cloud.owner()})
    set_resources(cloud, tag, document.get("resources") or [])
    return tag


def set_resources(cloud, tag, resources):
    wanted = {id_of(each) for each in resources}
    for kind in TAGGED:
        for each in cloud.kinds[kind].values():
            others = [link for link in each["tags"] if link["uuid"] != tag["uuid"]]
            is_wanted = each["uuid"] in wanted
            each["tags"] = others + ([cloud.link("tags", tag["uuid"])] if is_wanted else [])


def show_tag(cloud, tag):
    """Returns a tag with what carries it."""
    resources = []
    for kind in TAGGED:
        for each in cloud.kinds[kind].values():
            if any(link["uuid"] == tag["uuid"] for link in each["tags"]):
                resources.append({"owner": cloud.owner(), "res_type": kind} | cloud.link(kind, each["uuid"]))
    return tag | {"resources": resources}


def update_tag(cloud, uuid, document):
    tag = cloud.get("tags", uuid)
    if tag is None:
        raise not_found(uuid)
    tag["name"] = document.get("name", tag["name"])
    set_resources(cloud, tag, document.get("resources") or [])
    return tag


def delete_tag(cloud, uuid):
    tag = cloud.get("tags", uuid)
    if tag is None:
        raise not_found(uuid)
    set_resources(cloud, tag, [])
    del cloud.kinds["tags"][uuid]


def create_key(cloud, document):
    if not document.get("name"):
        raise invalid("name", "This field is required.")
    public, private = document.get("public_key"), ""
    if not public:
        # Nobody logs in with it.
        public, private = "ssh-rsa " + base64.b64encode(b"made here").decode(), "made here, and no key"
    digest = hashlib.md5(public.encode(), usedforsecurity=False).hexdigest()
    return cloud.add("keypairs", {
        "fingerprint": ":".join(digest[n : n + 2] for n in range(0, 32, 2)), "grantees": [], "has_private_key": bool(private),
        "meta": {}, "name": document["name"], "permissions": [], "private_key": private, "public_key": public, "tags": [],
    })  # fmt: skip
