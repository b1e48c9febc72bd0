"""Virtual networks, with their subnets and the addresses in them."""

import copy
import ipaddress
import itertools

import kinds
from cloud import Resource
from errors import ArmError
from network_kind import NetworkKind, retryable
from web import Reply

DELEGATION = "Microsoft.ContainerInstance/containerGroups"


def prefixes(values, name):
    try:
        found = [ipaddress.ip_network(value) for value in values]
    except (ValueError, TypeError):
        raise ArmError(
            400,
            "InvalidAddressPrefixFormat",
            f"Address prefix {values} of resource {name} is not formatted correctly. It should follow CIDR notation,"
            " for example 10.0.0.0/24.",
            details=[],
        ) from None
    if not found:
        raise ArmError(
            400,
            "InvalidRequestFormat",
            "Cannot parse the request.",
            details=[{"code": "MissingJsonReferenceId", "message": f"No address prefix of {name}."}],
        )
    return found


class VirtualNetworks(NetworkKind):
    """Virtual networks; the body may carry their subnets."""

    type = "Microsoft.Network/virtualNetworks"

    def build(self, cloud, request, id, body, existing):
        properties = copy.deepcopy(kinds.properties_of(body))
        space = properties.get("addressSpace") or {}
        prefixes(space.get("addressPrefixes") or [], id)
        subnets = properties.pop("subnets", None) or []
        for subnet in subnets:
            SUBNETS.check(cloud, f"{id}/subnets/{subnet.get('name')}", subnet, space["addressPrefixes"])
        if existing is not None:
            # The subnets that a new body leaves out are deleted.
            names = {subnet["name"].lower() for subnet in subnets}
            for subnet in SUBNETS.within(cloud, id):
                if subnet.name.lower() not in names:
                    SUBNETS.check_unused(cloud, subnet)
                    cloud.remove(subnet)
        return {"virtualNetworkPeerings": [], "enableDdosProtection": False} | properties, {}

    def check_idle(self, cloud, id):
        check_network_idle(cloud, id)

    def settled(self, cloud, resource, state):
        resource.becomes(state)
        for subnet in SUBNETS.within(cloud, resource.id):
            subnet.becomes(state)

    def placed(self, cloud, resource, body):
        for subnet in kinds.properties_of(body).get("subnets") or []:
            SUBNETS.place(cloud, f"{resource.id}/subnets/{subnet['name']}", subnet)

    def show(self, cloud, resource, request):
        shown = super().show(cloud, resource, request)
        shown["properties"]["subnets"] = [
            SUBNETS.show(cloud, each, request) for each in SUBNETS.within(cloud, resource.id)
        ]
        return shown

    def check_unused(self, cloud, resource):
        for subnet in SUBNETS.within(cloud, resource.id):
            SUBNETS.check_unused(cloud, subnet)

    def vanish(self, cloud, resource):
        for subnet in SUBNETS.within(cloud, resource.id):
            cloud.remove(subnet)
        cloud.remove(resource)


class Subnets(NetworkKind):
    """Subnets of virtual networks."""

    type = "Microsoft.Network/virtualNetworks/subnets"

    def has_location(self):
        return False

    def check_idle(self, cloud, id):
        check_network_idle(cloud, id.rsplit("/", 2)[0])

    def within(self, cloud, network_id):
        inside = network_id.lower() + "/subnets/"
        return [subnet for subnet in cloud.of(self.type) if subnet.key.startswith(inside)]

    def check(self, cloud, id, body, spaces):
        properties = kinds.properties_of(body)
        own = properties.get("addressPrefixes") or [properties.get("addressPrefix")]
        kinds.check_name(self.type, id.rsplit("/", 1)[1])
        name = id.rsplit("/", 1)[1]
        network = id.split("/")[8]
        for prefix in prefixes(own, id):
            if not any(prefix.subnet_of(space) for space in prefixes(spaces, id)):
                raise ArmError(
                    400,
                    "NetcfgInvalidSubnet",
                    f"Subnet '{name}' is not valid in virtual network '{network}'.",
                    details=[],
                )
            for other in self.within(cloud, id.rsplit("/", 2)[0]):
                theirs = other.properties.get("addressPrefixes") or [other.properties["addressPrefix"]]
                if other.key != id.lower() and any(prefix.overlaps(each) for each in prefixes(theirs, id)):
                    raise ArmError(
                        400,
                        "NetcfgSubnetRangesOverlap",
                        f"Subnet '{name}' is not valid because its IP address range overlaps with that of an existing"
                        f" subnet in virtual network '{network}'.",
                        details=[],
                    )

    def build(self, cloud, request, id, body, existing):
        network = cloud.get(id.rsplit("/", 2)[0], VirtualNetworks.type)
        if network is None:
            raise ArmError(
                404,
                "ParentResourceNotFound",
                "Failed to perform 'write' on resource(s) of type 'virtualNetworks/subnets', because the parent"
                f" resource '{id.rsplit('/', 2)[0]}' could not be found.",
            )
        self.check(cloud, id, body, network.properties["addressSpace"]["addressPrefixes"])
        if existing is not None and existing.more.get("links") and not self.delegated(body):
            raise self.needs_delegation(existing)
        return self.properties(id, body), {}

    def properties(self, id, body):
        properties = copy.deepcopy(kinds.properties_of(body))
        for delegation in properties.setdefault("delegations", []):
            delegation["id"] = f"{id}/delegations/{delegation.get('name')}"
            delegation["type"] = "Microsoft.Network/virtualNetworks/subnets/delegations"
            delegation["properties"] = {
                "provisioningState": "Succeeded",
                **delegation.get("properties", {}),
                "actions": ["Microsoft.Network/virtualNetworks/subnets/action"],
            }
        return {
            "privateEndpointNetworkPolicies": "Disabled",
            "privateLinkServiceNetworkPolicies": "Enabled",
        } | properties

    def place(self, cloud, id, body):
        """Creates or changes a subnet that came with its network."""
        existing = cloud.get(id, self.type)
        if existing is None:
            existing = cloud.add(Resource(id, self.type, None, {}))
        existing.properties = self.properties(id, body)
        existing.becomes("Updating")

    def delegated(self, body):
        delegations = (body.get("properties") or {}).get("delegations") or []
        return any(
            (each.get("properties") or {}).get("serviceName", "").lower() == DELEGATION.lower() for each in delegations
        )

    def show(self, cloud, resource, request):
        shown = super().show(cloud, resource, request)
        configurations = [{"id": each} for each in sorted(used_by(cloud, resource))]
        if configurations:
            shown["properties"]["ipConfigurations"] = configurations
        if resource.more.get("links"):
            shown["properties"]["serviceAssociationLinks"] = [
                {
                    "name": "acisal",
                    "id": f"{resource.id}/serviceAssociationLinks/acisal",
                    "properties": {
                        "provisioningState": "Succeeded",
                        "linkedResourceType": "Microsoft.ContainerInstance/containerGroups",
                        "link": f"{resource.id}/providers/Microsoft.ContainerInstance/serviceAssociationLinks/default",
                        "allowDelete": False,
                        "locations": [],
                    },
                }
            ]
        return shown

    def needs_delegation(self, resource):
        message = (
            f"Subnet {resource.id} requires any of the following delegation(s) [{DELEGATION}] to reference service"
            f" association link {resource.id}/serviceAssociationLinks/acisal."
        )
        return ArmError(400, "SubnetMissingRequiredDelegation", message, details=[])

    def check_unused(self, cloud, resource):
        users = sorted(used_by(cloud, resource))
        if not users and resource.more.get("links"):
            users = [f"{resource.id}/serviceAssociationLinks/acisal"]
        if users:
            message = (
                f"Subnet {resource.name} is in use by {users[0]} and cannot be deleted. In order to delete the subnet,"
                " delete all the resources within the subnet. See aka.ms/deletesubnet."
            )
            raise ArmError(400, "InUseSubnetCannotBeDeleted", message, details=[])

    def list_within(self, cloud, request, network_id):
        entries = cloud.listed(self.within(cloud, network_id))
        return kinds.page(cloud, request, entries, lambda each: self.show(cloud, each, request))

    def delete_link(self, cloud, request, id):
        """Deletes the service association link, by which container groups hold a subnet."""
        resource = self.find(cloud, id)
        if any(resource.key in group.more.get("subnets", []) for group in cloud.of(DELEGATION)):
            raise ArmError(409, "SubnetInUse", f"Container groups still use the subnet {resource.id}.")
        if not resource.more.pop("links", None):
            return Reply(204)
        return Reply(200)


def check_network_idle(cloud, network_id):
    """Refuses a change of a network or its subnets while another one goes on."""
    if not cloud.settings["network_conflicts"]:
        return
    for each in (cloud.get(network_id, VirtualNetworks.type), *SUBNETS.within(cloud, network_id)):
        operation = each and each.more.get("operation")
        if operation and operation.status == "InProgress":
            kind = "Subnet" if "/subnets/" in each.key else "VirtualNetwork"
            verb = "Delete" if each.state == "Deleting" else "Put"
            message = (
                f"Operation {verb}{kind}Operation ({operation.id}) is updating resource {each.id}. The call can be"
                " retried in 60 seconds."
            )
            raise retryable(cloud, "RetryableErrorDueToAnotherOperation", message)


def used_by(cloud, subnet):
    """Returns the ids of the IP configurations of network cards in a subnet."""
    for card in cloud.of("Microsoft.Network/networkInterfaces"):
        for configuration in card.properties["ipConfigurations"]:
            if configuration["properties"]["subnet"]["id"].lower() == subnet.key:
                yield configuration["id"]


def hold_subnet(cloud, subnet):
    """Lets container groups hold a subnet by its link."""
    subnet.more["links"] = True


def release_subnet(cloud, subnet):
    """Ends the link some time after the last container group has gone."""

    def end():
        if not any(subnet.key in group.more.get("subnets", []) for group in cloud.of(DELEGATION)):
            subnet.more.pop("links", None)

    cloud.later(cloud.settings["sal_seconds"], end)


def release_address(subnet, address):
    subnet.more.get("taken", set()).discard(address)
    subnet.more["next"] = 4


def private_address(cloud, subnet, wanted=None):
    """Returns a free address of a subnet: Azure keeps the first four and the last."""
    prefix = (subnet.properties.get("addressPrefixes") or [subnet.properties.get("addressPrefix")])[0]
    network = ipaddress.ip_network(prefix)
    taken = subnet.more.setdefault("taken", set())
    if wanted is not None:
        taken.add(wanted)
        return wanted
    last = network.num_addresses - 1
    hint = subnet.more.get("next", 4)
    for number in itertools.chain(range(hint, last), range(4, min(hint, last))):
        address = str(network[number])
        if address not in taken:
            taken.add(address)
            subnet.more["next"] = number + 1
            return address
    raise ArmError(
        400,
        "SubnetIsFull",
        f"Subnet {subnet.name} with address prefix {prefix} does not have enough capacity for 1 IP addresses.",
        details=[],
    )


VIRTUAL_NETWORKS, SUBNETS = VirtualNetworks(), Subnets()
