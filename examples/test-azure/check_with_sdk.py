"""Microsoft's Python SDKs as clients of this server: `check_with_sdk.py URL [SERVICE=URL ...]` (`pip install
azure-mgmt-compute azure-mgmt-network azure-mgmt-containerinstance azure-mgmt-resource`).

SERVICE (compute, disks, network, containers, resources) is reached at another URL, such as that of a proxy that checks.
They create, watch, change and delete virtual machines and container groups, and follow operations by themselves.
"""

import json
import sys
import time
import urllib.parse
import urllib.request

from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from tokens import CLIENT, SECRET

GROUP, PLACE = "sdk-group", "westeurope"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBmoMo3qoQJ0Qm3z1sOiKVb9j9nJmZ0mL5pXJ2n0Qm3z test"


class Login(SansIOHTTPPolicy):
    """Sets the header that the usual policy sets only over https."""

    def __init__(self, url, tenant):
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "client_secret": SECRET,
            "scope": f"{url}/.default",
        }
        request = urllib.request.Request(f"{url}/{tenant}/oauth2/v2.0/token", urllib.parse.urlencode(form).encode())
        self.token = json.load(urllib.request.urlopen(request))["access_token"]

    def on_request(self, request):
        request.http_request.headers["Authorization"] = f"Bearer {self.token}"

    def get_token(self, *_, **__):
        return AccessToken(self.token, int(time.time()) + 3600)


class Clients:
    """One client for each of the SDKs."""

    def __init__(self, url, proxies):
        self.url = url
        # The documents of proxies are of 2019, and know Spot machines by their former name.
        self.spot = "Low" if proxies else "Spot"
        about = self.test("GET", "")
        # Hours go by in it.
        self.test("POST", "settings", {"token_seconds": 1_000_000})
        login = Login(url, about["tenant"])
        scopes = [f"{url}/.default"]
        more = {"authentication_policy": login, "polling_interval": 0, "retry_total": 1, "credential_scopes": scopes}
        self.subscription = about["subscription"]
        self.compute = ComputeManagementClient(login, self.subscription, base_url=proxies.get("compute", url), **more)
        self.disks = ComputeManagementClient(login, self.subscription, base_url=proxies.get("disks", url), **more).disks
        self.network = NetworkManagementClient(login, self.subscription, base_url=proxies.get("network", url), **more)
        self.containers = ContainerInstanceManagementClient(
            login, self.subscription, base_url=proxies.get("containers", url), **more
        )
        self.resources = ResourceManagementClient(
            login, self.subscription, base_url=proxies.get("resources", url), **more
        )

    def test(self, method, path, body=None):
        """Controls the server."""
        data = None if body is None else json.dumps(body).encode()
        return json.load(
            urllib.request.urlopen(urllib.request.Request(f"{self.url}/_test/{path}", data, method=method))
        )


def refused(code, call, *arguments, **named):
    """Demands a refusal with this code."""
    try:
        result = call(*arguments, **named)
        result = result.result() if hasattr(result, "result") else result
    except HttpResponseError as error:
        found = error.error.code if error.error else None
        assert found == code, f"{found} instead of {code}: {error}"
        return error
    raise AssertionError(f"{code} was expected, and not {result}")


def make_network(clients):
    """Creates a network with two subnets, one of them for container groups."""
    delegation = {"name": "aci", "properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}
    body = {
        "location": PLACE,
        "tags": {"owner": "sdk"},
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
            "subnets": [{"name": "machines", "properties": {"addressPrefix": "10.0.0.0/24"}}],
        },
    }
    network = clients.network.virtual_networks.begin_create_or_update(GROUP, "net", body).result()
    assert network.provisioning_state == "Succeeded" and len(network.subnets) == 1, network
    subnet = {"properties": {"addressPrefix": "10.0.1.0/24", "delegations": [delegation]}}
    containers = clients.network.subnets.begin_create_or_update(GROUP, "net", "containers", subnet).result()
    assert containers.delegations[0].service_name == delegation["properties"]["serviceName"], containers
    return network.subnets[0].id, containers.id


def body_of_machine(name, profile, **more):
    storage = {
        "imageReference": {
            "publisher": "Canonical",
            "offer": "0001-com-ubuntu-server-jammy",
            "sku": "22_04-lts-gen2",
            "version": "latest",
        },
        "osDisk": {"createOption": "FromImage", "deleteOption": "Delete"},
    }
    user = {
        "computerName": name,
        "adminUsername": "ubuntu",
        "customData": "I2Nsb3VkLWNvbmZpZwo=",
        "linuxConfiguration": {
            "disablePasswordAuthentication": True,
            "ssh": {"publicKeys": [{"path": "/home/ubuntu/.ssh/authorized_keys", "keyData": KEY}]},
        },
    }
    properties = {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": storage,
        "osProfile": user,
        "networkProfile": profile,
    }
    return {"location": PLACE, "tags": {"owner": "sdk", "name": name}, "properties": properties | more}


def machine_in_one_request(clients, subnet):
    """Lives the life of a machine whose card and address are created and deleted with it."""
    address = {
        "name": "ip",
        "sku": {"name": "Standard"},
        "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"},
    }
    configuration = {
        "name": "main",
        "properties": {"primary": True, "subnet": {"id": subnet}, "publicIPAddressConfiguration": address},
    }
    card = {
        "name": "card",
        "properties": {"primary": True, "deleteOption": "Delete", "ipConfigurations": [configuration]},
    }
    profile = {"networkApiVersion": "2022-11-01", "networkInterfaceConfigurations": [card]}
    body = body_of_machine("one", profile, priority=clients.spot, evictionPolicy="Deallocate")
    machines = clients.compute.virtual_machines
    clients.test("POST", "settings", {"delays": {"PUT Microsoft.Compute/virtualMachines": 600}})
    poller = machines.begin_create_or_update(GROUP, "one", body, match_condition=MatchConditions.IfMissing)
    assert machines.get(GROUP, "ONE").provisioning_state == "Creating"
    clients.test("POST", "advance", {"seconds": 600})
    clients.test("POST", "settings", {"delays": {"PUT Microsoft.Compute/virtualMachines": 0.05}})
    machine = poller.result()
    assert machine.provisioning_state == "Succeeded" and machine.os_profile.custom_data is None, machine
    card_id = machine.network_profile.network_interfaces[0].id
    found = clients.network.network_interfaces.get(GROUP, card_id.rsplit("/", 1)[1])
    public = found.ip_configurations[0].public_ip_address.id
    assert clients.network.public_ip_addresses.get(GROUP, public.rsplit("/", 1)[1]).ip_address
    refused(
        "PreconditionFailed",
        machines.begin_create_or_update,
        GROUP,
        "one",
        body,
        match_condition=MatchConditions.IfMissing,
    )
    refused("PropertyChangeNotAllowed", machines.begin_create_or_update, GROUP, "one", body_of_machine("two", profile))
    assert powers(machines, "one") == "running"
    machines.begin_power_off(GROUP, "one").result()
    assert powers(machines, "one") == "stopped"
    machines.begin_start(GROUP, "one").result()
    machines.begin_deallocate(GROUP, "one").result()
    assert powers(machines, "one") == "deallocated"
    listed = list(machines.list_all(status_only="true"))
    assert [each.name for each in listed] == ["one"] and listed[0].instance_view.statuses, listed
    assert list(machines.list(GROUP, expand="instanceView"))[0].instance_view is not None
    machines.begin_update(GROUP, "one", {"tags": {"owner": "sdk", "changed": "yes"}}).result()
    machines.begin_delete(GROUP, "one", force_deletion=True).result()
    left = [each["name"] for each in clients.test("GET", "resources")["resources"]]
    assert sorted(left) == ["containers", "machines", "net"], left


def powers(machines, name):
    statuses = machines.instance_view(GROUP, name).statuses
    return next(each.code.split("/")[1] for each in statuses if each.code.startswith("PowerState/"))


def machine_with_parts(clients, subnet):
    """Lives the life of a machine whose parts are created and deleted one by one."""
    network = clients.network
    rule = {
        "name": "ssh",
        "properties": {
            "protocol": "Tcp",
            "access": "Allow",
            "direction": "Inbound",
            "priority": 100,
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": "22",
        },
    }
    wall = network.network_security_groups.begin_create_or_update(
        GROUP, "wall", {"location": PLACE, "properties": {"securityRules": [rule]}}
    ).result()
    basic = {"location": PLACE, "properties": {"publicIPAllocationMethod": "Dynamic"}}
    refused(
        "IPv4BasicSkuPublicIpCountLimitReached", network.public_ip_addresses.begin_create_or_update, GROUP, "ip", basic
    )
    static = {"location": PLACE, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    address = network.public_ip_addresses.begin_create_or_update(GROUP, "ip", static).result()
    configuration = {"name": "main", "properties": {"subnet": {"id": subnet}, "publicIPAddress": {"id": address.id}}}
    card_body = {
        "location": PLACE,
        "properties": {"networkSecurityGroup": {"id": wall.id}, "ipConfigurations": [configuration]},
    }
    card = network.network_interfaces.begin_create_or_update(GROUP, "card", card_body).result()
    assert card.ip_configurations[0].private_ip_address == "10.0.0.4", card
    body = body_of_machine("two", {"networkInterfaces": [{"id": card.id, "properties": {"primary": True}}]})
    machine = clients.compute.virtual_machines.begin_create_or_update(GROUP, "two", body).result()
    disk = machine.storage_profile.os_disk.name
    assert clients.disks.get(GROUP, disk).managed_by.endswith("/two")
    refused("NicInUse", network.network_interfaces.begin_delete, GROUP, "card")
    refused("PublicIPAddressCannotBeDeleted", network.public_ip_addresses.begin_delete, GROUP, "ip")
    refused("InUseSubnetCannotBeDeleted", network.subnets.begin_delete, GROUP, "net", "machines")
    refused("InUseNetworkSecurityGroupCannotBeDeleted", network.network_security_groups.begin_delete, GROUP, "wall")
    clients.compute.virtual_machines.begin_delete(GROUP, "two").result()
    refused("ResourceNotFound", clients.disks.get, GROUP, disk)
    network.network_interfaces.begin_delete(GROUP, "card").result()
    network.public_ip_addresses.begin_delete(GROUP, "ip").result()
    network.network_security_groups.begin_delete(GROUP, "wall").result()


def machine_that_fails(clients, subnet):
    """Sees an allocation fail in the operation, and what it leaves."""
    card_body = {
        "location": PLACE,
        "properties": {"ipConfigurations": [{"name": "main", "properties": {"subnet": {"id": subnet}}}]},
    }
    card = clients.network.network_interfaces.begin_create_or_update(GROUP, "reserved", card_body).result()
    body = body_of_machine("full", {"networkInterfaces": [{"id": card.id}]})
    clients.test(
        "POST", "capacity", {"type": "Microsoft.Compute/virtualMachines", "code": "AllocationFailed", "times": 1}
    )
    refused("AllocationFailed", clients.compute.virtual_machines.begin_create_or_update, GROUP, "full", body)
    assert clients.compute.virtual_machines.get(GROUP, "full").provisioning_state == "Failed"
    clients.compute.virtual_machines.begin_delete(GROUP, "full").result()
    refused("NicReservedForAnotherVm", clients.network.network_interfaces.begin_delete, GROUP, "reserved")
    clients.test("POST", "advance", {"seconds": 181})
    clients.network.network_interfaces.begin_delete(GROUP, "reserved").result()
    clients.test(
        "POST", "capacity", {"type": "Microsoft.Compute/virtualMachines", "code": "SkuNotAvailable", "times": 1}
    )
    refused("InvalidResourceReference", clients.compute.virtual_machines.begin_create_or_update, GROUP, "full", body)


def body_of_group(image, **more):
    container = {
        "name": "web",
        "properties": {
            "image": image,
            "ports": [{"port": 80}],
            "resources": {"requests": {"cpu": 0.5, "memoryInGB": 1.0}},
            "environmentVariables": [{"name": "A", "value": "b"}, {"name": "S", "secureValue": "hidden"}],
        },
    }
    return {
        "location": PLACE,
        "tags": {"owner": "sdk"},
        "properties": {"osType": "Linux", "containers": [container], **more},
    }


def container_group(clients, subnet):
    """Lives the life of container groups, public and in a network."""
    groups = clients.containers.container_groups
    public = {"type": "Public", "ports": [{"port": 80}], "dnsNameLabel": "sdk-label"}
    group = groups.begin_create_or_update(GROUP, "web", body_of_group("nginx", ipAddress=public)).result()
    assert group.provisioning_state == "Succeeded" and group.instance_view.state == "Running", group
    assert group.ip_address.fqdn == f"sdk-label.{PLACE}.azurecontainer.io" and group.ip_address.ip, group.ip_address
    view = group.containers[0].instance_view
    assert [event.name for event in view.events] == ["Pulling", "Pulled", "Created", "Started"], view
    assert group.containers[0].environment_variables[1].secure_value is None
    assert "Started" in clients.containers.containers.list_logs(GROUP, "web", "web", tail=10).content
    refused(
        "DnsNameLabelNotAvailable",
        groups.begin_create_or_update,
        GROUP,
        "other",
        body_of_group("nginx", ipAddress=public),
    )
    groups.begin_restart(GROUP, "web").result()
    groups.stop(GROUP, "web")
    stopped = groups.get(GROUP, "web")
    assert (stopped.provisioning_state, stopped.instance_view.state) == ("Succeeded", "Stopped"), stopped
    assert [each.instance_view for each in groups.list()] == [None]
    assert groups.begin_delete(GROUP, "web").result().name == "web"
    refused("RegistryErrorResponse", groups.begin_create_or_update, GROUP, "none", body_of_group("busy-registry/nginx"))
    refused("InaccessibleImage", groups.begin_create_or_update, GROUP, "none", body_of_group("inaccessible:1"))
    private = {
        "ipAddress": {"type": "Private", "ports": [{"port": 80}]},
        "subnetIds": [{"id": subnet}],
        "restartPolicy": "Never",
    }
    inside = groups.begin_create_or_update(GROUP, "inside", body_of_group("job-exits-3", **private)).result()
    assert inside.ip_address.ip == "10.0.1.4", inside.ip_address
    clients.test("POST", "advance", {"seconds": 600})
    ended = groups.get(GROUP, "inside")
    assert (
        ended.instance_view.state == "Failed" and ended.containers[0].instance_view.current_state.exit_code == 3
    ), ended
    groups.begin_delete(GROUP, "inside").result()
    refused("InUseSubnetCannotBeDeleted", clients.network.subnets.begin_delete, GROUP, "net", "containers")
    clients.test("POST", "advance", {"seconds": 600})
    clients.network.subnets.begin_delete(GROUP, "net", "containers").result()


def container_group_that_fails(clients, subnet):
    """Sees what keeps a group from running."""
    groups = clients.containers.container_groups
    lacking = {"type": "Microsoft.ContainerInstance/containerGroups", "code": "ServiceUnavailable"}
    clients.test("POST", "capacity", lacking)
    refused("ServiceUnavailable", groups.begin_create_or_update, GROUP, "full", body_of_group("nginx"))
    clients.test("POST", "capacity", lacking)
    private = {"ipAddress": {"type": "Private", "ports": [{"port": 80}]}, "subnetIds": [{"id": subnet}]}
    refused("Failed", groups.begin_create_or_update, GROUP, "full", body_of_group("nginx", **private))
    full = groups.get(GROUP, "full")
    assert full.provisioning_state == "Failed" and full.instance_view.events[0].name == "InsufficientCapacity.", full
    poller = groups.begin_create_or_update(GROUP, "typo", body_of_group("missing"), polling_interval=0.2)
    clients.test("POST", "advance", {"seconds": 10})
    waiting = groups.get(GROUP, "typo")
    assert "ImagePullBackOff" in waiting.containers[0].instance_view.current_state.detail_status, waiting
    clients.test("POST", "advance", {"seconds": 1800})
    refused("Failed", poller.result)
    for name in ("full", "typo"):
        groups.begin_delete(GROUP, name).result()
    clients.test("POST", "advance", {"seconds": 600})


def pages_and_tags(clients):
    """Reads lists in pages, and finds resources by their tags."""
    clients.test("POST", "settings", {"page_size": 2})
    for number in range(5):
        body = {"location": PLACE, "tags": {"row": str(number % 2)}, "properties": {}}
        clients.network.network_security_groups.begin_create_or_update(GROUP, f"wall-{number}", body).result()
    names = [each.name for each in clients.network.network_security_groups.list(GROUP)]
    assert names == [f"wall-{number}" for number in range(5)], names
    tagged = list(clients.resources.resources.list(filter="tagName eq 'row' and tagValue eq '0'"))
    assert [each.name for each in tagged] == ["wall-0", "wall-2", "wall-4"], tagged


def main():
    clients = Clients(sys.argv[1], dict(argument.split("=", 1) for argument in sys.argv[2:]))
    clients.test(
        "POST",
        "settings",
        {"delays": {"default": 0.05}, "retry_after": 0, "container_run_seconds": 600, "sal_seconds": 600},
    )
    groups = clients.resources.resource_groups
    refused("ResourceGroupNotFound", groups.get, GROUP)
    groups.create_or_update(GROUP, {"location": PLACE})
    assert groups.check_existence(GROUP)
    machines, containers = make_network(clients)
    machine_in_one_request(clients, machines)
    machine_with_parts(clients, machines)
    machine_that_fails(clients, machines)
    container_group_that_fails(clients, containers)
    container_group(clients, containers)
    pages_and_tags(clients)
    clients.network.virtual_networks.begin_delete(GROUP, "net").result()
    groups.begin_delete(GROUP).result()
    assert not groups.check_existence(GROUP)
    left = clients.test("GET", "resources")
    assert left == {"groups": [], "resources": []}, left
    print("the SDKs are content:", json.dumps(clients.test("GET", "requests")["total"]), "requests")


if __name__ == "__main__":
    main()
