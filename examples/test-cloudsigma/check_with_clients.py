"""CloudSigma's own Python client and apache-libcloud as clients of this server: `check_with_clients.py URL [TLS-URL CA]`
(`pip install cloudsigma==2.0.0 apache-libcloud==3.9.1`). libcloud insists on TLS.

They list, clone, create, tag, start, change, stop and delete servers and drives, and read the errors.
"""

import json
import sys
import time
import urllib.request

from settings import EMAIL, LIBRARY_DRIVE, PASSWORD, STATIC_ADDRESS, VLAN

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBmoMo3qoQJ0Qm3z1sOiKVb9j9nJmZ0mL5pXJ2n0Qm3z test"
PATIENCE_SECONDS = 20


def until(what, condition):
    """Waits for a condition, and returns what it gave."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {PATIENCE_SECONDS} s")


def refused(kind, call):
    """Calls what must be refused, and returns CloudSigma's message."""
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError(f"it should be refused with {kind.__name__}")


def left(url):
    with urllib.request.urlopen(f"{url}/_test/resources") as answer:
        return json.load(answer)


def check_own_client(url):
    """CloudSigma's client: the life of a server with its drive, a key, a tag and three kinds of network cards."""
    from cloudsigma import errors, resource

    login = {"api_endpoint": f"{url}/api/2.0/", "username": EMAIL, "password": PASSWORD}
    server, drive, tags = resource.Server(**login), resource.Drive(**login), resource.Tags(**login)
    assert resource.Profile(**login).get()["email"] == EMAIL
    library = resource.LibDrive(**login)
    assert library.list()[0]["uuid"] == LIBRARY_DRIVE
    wrong = resource.Server(**(login | {"password": "wrong"}))
    refused(errors.AuthError, wrong.list)

    clone = library._action(LIBRARY_DRIVE, "clone", {"name": "disk"})
    assert clone["status"] == "cloning_dst" and clone["jobs"]
    assert "state" in refused(errors.PermissionError, lambda: drive.delete(clone["uuid"]))
    job = clone["jobs"][0]["uuid"]
    jobs = resource.ResourceBase(**login)
    jobs.resource_name = "jobs"
    until("the clone ends", lambda: jobs.get(job)["state"] == "success")
    assert drive.get(clone["uuid"])["status"] == "unmounted"

    keys = resource.ResourceBase(**login)
    keys.resource_name = "keypairs"
    key = keys.create({"name": "mine", "public_key": KEY})
    tag = tags.create({"name": "web"})
    attached = {"boot_order": 1, "dev_channel": "0:0", "device": "virtio", "drive": clone["uuid"]}
    document = {
        "name": "web", "cpu": 2000, "mem": 2**30, "vnc_password": "secret", "meta": {"ssh_public_key": KEY},
        "pubkeys": [key["uuid"]], "tags": [tag["uuid"]], "drives": [attached],
        "nics": [
            {"ip_v4_conf": {"conf": "dhcp"}},
            {"ip_v4_conf": {"conf": "static", "ip": STATIC_ADDRESS}},
            {"vlan": VLAN},
        ],
    }  # fmt: skip
    made = server.create(document)
    assert (made["status"], made["runtime"], made["smp"]) == ("stopped", None, 1)
    assert made["drives"][0]["drive"]["uuid"] == clone["uuid"]
    assert drive.get(clone["uuid"])["status"] == "mounted"
    assert [each["uuid"] for each in tags.servers(tag["uuid"])] == [made["uuid"]]
    refused(errors.ClientError, lambda: server.create(document))
    refused(errors.PermissionError, lambda: drive.delete(clone["uuid"]))

    # What pycloudsigma's tutorial does: read, change, and send all of it back.
    whole = server.get(made["uuid"])
    whole["name"], whole["meta"]["more"] = "changed", "x"
    assert server.update(made["uuid"], whole)["meta"]["more"] == "x"
    assert server.start(made["uuid"]) == {"action": "start", "result": "success", "uuid": made["uuid"]}
    said = refused(errors.PermissionError, lambda: server.start(made["uuid"]))
    assert "Cannot start guest in state" in said, said
    running = until("it runs", lambda: (now := server.get(made["uuid"]))["status"] == "running" and now)
    nics = running["runtime"]["nics"]
    assert nics[0]["ip_v4"]["uuid"].startswith("94.26.") and nics[1]["ip_v4"]["uuid"] == STATIC_ADDRESS
    assert (nics[2]["interface_type"], nics[2]["ip_v4"]) == ("private", None)
    running["cpu"], running["meta"]["more"] = 4000, "y"
    changed = server.update(made["uuid"], running)
    assert (changed["cpu"], changed["meta"]["more"]) == (2000, "y"), "while it runs, some changes are ignored"
    refused(errors.PermissionError, lambda: server.delete(made["uuid"]))
    server.stop(made["uuid"])
    until("it is stopped", lambda: server.get(made["uuid"])["status"] == "stopped")
    server.delete_with_all_drives(made["uuid"])
    refused(errors.ClientError, lambda: server.get(made["uuid"]))
    refused(errors.ClientError, lambda: server.create({"name": "x", "cpu": 1000}))
    tags.delete(tag["uuid"])
    keys.delete(key["uuid"])

    # 20 on a page unless all are requested, as the client does.
    for number in range(25):
        server.create({"name": f"s-{number}", "cpu": 1000, "mem": 2**30, "vnc_password": "secret"})
    assert (len(server.list_detail()), len(server.list_detail({"limit": 20}))) == (25, 20)
    assert len(server.list({"name__contains": "s-2"})) == 6
    for each in server.list():
        server.delete(each["uuid"])


def check_libcloud(url, authority):
    """apache-libcloud: a node from the library, its drives, a tag and a key."""
    import libcloud.security
    from libcloud.common.types import InvalidCredsError
    from libcloud.compute.drivers.cloudsigma import CloudSigmaError
    from libcloud.compute.providers import get_driver
    from libcloud.compute.types import NodeState, Provider

    libcloud.security.CA_CERTS_PATH = authority
    host, port = url.split("//")[1].split(":")
    CloudSigma = get_driver(Provider.CLOUDSIGMA)

    def connect(password):
        driver = CloudSigma(EMAIL, password, region="zrh", api_version="2.0", host=host, port=int(port))
        driver.DRIVE_TRANSITION_SLEEP_INTERVAL = 0.1
        return driver

    refused(InvalidCredsError, connect("wrong").list_nodes)
    driver = connect(PASSWORD)
    image = driver.list_images()[0]
    source = driver.ex_list_library_drives()[0]
    assert image.id == source.id == LIBRARY_DRIVE
    key = driver.import_key_pair_from_string("theirs", KEY)
    assert driver.list_key_pairs()[0].name == key.name
    node = driver.create_node(
        name="node", size=driver.list_sizes()[0], image=image, ex_metadata={"a": "b"}, public_keys=[key.extra["uuid"]], ex_vlan=VLAN
    )
    running = until("it runs", lambda: [each for each in driver.list_nodes() if each.state == NodeState.RUNNING])[0]
    assert running.id == node.id and running.public_ips and running.extra["meta"] == {"a": "b"}
    tag = driver.ex_create_tag("theirs")
    assert driver.ex_get_tag(tag.id).name == "theirs" and driver.ex_delete_tag(tag)
    said = refused(CloudSigmaError, lambda: driver.destroy_node(node))
    assert "state" in said, said
    assert driver.ex_stop_node(node)
    until("it is stopped", lambda: driver.ex_get_node(node.id).state == NodeState.STOPPED)
    more = driver.ex_create_drive("more", 5)
    until("the drive is there", lambda: driver.ex_get_drive(more.id).status == "unmounted")
    assert driver.attach_volume(node, more) and driver.ex_get_drive(more.id).status == "mounted"
    assert len(driver.ex_get_node(node.id).extra["drives"]) == 2
    assert driver.detach_volume(driver.ex_get_node(node.id), more) and driver.destroy_volume(more)
    assert driver.destroy_node(node, ex_delete_drives=True)
    assert driver.delete_key_pair(driver.list_key_pairs()[0])
    assert driver.list_nodes() == [] and driver.ex_list_user_drives() == []


def main():
    url = sys.argv[1]
    check_own_client(url)
    if len(sys.argv) > 2:
        check_libcloud(sys.argv[2], sys.argv[3])
    assert not any(left(url).values()), left(url)


if __name__ == "__main__":
    main()
