"""Network interfaces, also those that come with a virtual machine."""

import copy
import uuid

import errors
import kinds
import networks
from addresses import PUBLIC_ADDRESSES, check_public
from cloud import Resource
from errors import ArmError
from network_kind import NetworkKind, check_provisioned
from networks import SUBNETS
from security_groups import SECURITY_GROUPS


class Interfaces(NetworkKind):
    """Network interfaces."""

    type = "Microsoft.Network/networkInterfaces"

    def build(self, cloud, request, id, body, existing):
        if existing is not None:
            self.detach(cloud, existing)
        return self.assemble(cloud, id, kinds.properties_of(body), kinds.place(body["location"]), existing), {}

    def assemble(self, cloud, id, given, location, existing=None):
        """Returns the properties of an interface, with its addresses; refuses what it refers to and is not there."""
        configurations = copy.deepcopy(given.get("ipConfigurations") or [])
        if not configurations:
            raise ArmError(
                400,
                "NetworkInterfaceMustHaveAtLeastOneIpConfiguration",
                f"Network interface {id} must have at least one ip configuration.",
                details=[],
            )
        group = given.get("networkSecurityGroup")
        if group:
            found = cloud.get(group["id"], SECURITY_GROUPS.type)
            if found is None:
                raise errors.reference_not_found(group["id"], id)
            check_provisioned(cloud, found, id)
        for number, configuration in enumerate(configurations):
            self.complete(cloud, id, configuration, number, existing)
        properties = {
            "ipConfigurations": configurations,
            "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
            "enableAcceleratedNetworking": False,
            "enableIPForwarding": False,
            "hostedWorkloads": [],
            "tapConfigurations": [],
            "nicType": "Standard",
        }
        for name in ("networkSecurityGroup", "enableAcceleratedNetworking", "enableIPForwarding"):
            if name in given:
                properties[name] = given[name]
        if existing is not None:
            properties |= {
                name: existing.properties[name]
                for name in ("virtualMachine", "primary", "macAddress")
                if name in existing.properties
            }
        for configuration in configurations:
            address = configuration["properties"].get("publicIPAddress")
            if address:
                cloud.get(address["id"]).properties["ipConfiguration"] = {"id": configuration["id"]}
        return properties

    def complete(self, cloud, id, configuration, number, existing):
        name, properties = configuration.get("name"), configuration.setdefault("properties", {})
        configuration["id"] = f"{id}/ipConfigurations/{name}"
        configuration["etag"] = f'W/"{uuid.uuid4()}"'
        configuration["type"] = "Microsoft.Network/networkInterfaces/ipConfigurations"
        reference = (properties.get("subnet") or {}).get("id")
        if not reference:
            raise ArmError(
                400,
                "InvalidRequestFormat",
                "Cannot parse the request.",
                details=[
                    {
                        "code": "MissingJsonReferenceId",
                        "message": (
                            "Value for reference id is missing. Path"
                            f" properties.ipConfigurations[{number}].properties.subnet."
                        ),
                    }
                ],
            )
        subnet = cloud.get(reference, SUBNETS.type)
        if subnet is None:
            raise errors.reference_not_found(reference, id)
        check_provisioned(cloud, subnet, id)
        if subnet.properties.get("delegations"):
            delegation = subnet.properties["delegations"][0]["id"]
            raise ArmError(
                400,
                "SubnetHasDelegations",
                f"Resource {id} cannot be created in or updated to use the subnet {subnet.id} since it has"
                f" delegation(s) [{delegation}] to external services.",
                details=[],
            )
        address = properties.get("publicIPAddress")
        if address is not None:
            self.check_address(cloud, id, address, configuration["id"])
        wanted = properties.get("privateIPAddress")
        if existing is not None:
            old = next((each for each in existing.properties["ipConfigurations"] if each["name"] == name), None)
            wanted = wanted or (old and old["properties"]["privateIPAddress"])
        properties |= {
            "provisioningState": "Succeeded",
            "privateIPAddress": networks.private_address(cloud, subnet, wanted),
            "privateIPAllocationMethod": properties.get("privateIPAllocationMethod", "Dynamic"),
            "privateIPAddressVersion": "IPv4",
            "primary": properties.get("primary", number == 0),
        }

    def check_address(self, cloud, id, address, configuration):
        found = cloud.get(address.get("id") or "", PUBLIC_ADDRESSES.type)
        if found is None:
            raise errors.reference_not_found(address.get("id"), id)
        check_provisioned(cloud, found, id)
        user = found.properties.get("ipConfiguration")
        if user and user["id"].lower() != configuration.lower():
            raise ArmError(
                400,
                "PublicIPAddressInUse",
                f"Resource {configuration} is referencing public IP address {found.id} that is already allocated to"
                f" resource {user['id']}.",
                details=[],
            )

    def check_unused(self, cloud, resource):
        reserved = resource.more.get("reserved")
        if reserved and reserved[0] > cloud.now():
            raise reserved_for(reserved[1])
        machine = resource.properties.get("virtualMachine")
        if machine:
            raise in_use(resource, machine["id"])

    def detach(self, cloud, resource):
        """Lets go of public addresses."""
        for configuration in resource.properties["ipConfigurations"]:
            address = configuration["properties"].get("publicIPAddress")
            found = address and cloud.get(address["id"])
            if found:
                found.properties.pop("ipConfiguration", None)

    def vanish(self, cloud, resource):
        """Removes an interface, and public addresses that are to go with it."""
        self.detach(cloud, resource)
        for configuration in resource.properties["ipConfigurations"]:
            properties = configuration["properties"]
            subnet = cloud.get(properties["subnet"]["id"])
            if subnet:
                networks.release_address(subnet, properties["privateIPAddress"])
            address = properties.get("publicIPAddress") or {}
            if (address.get("properties") or {}).get("deleteOption") == "Delete" and (
                found := cloud.get(address["id"])
            ):
                cloud.remove(found)
        cloud.remove(resource)


def reserved_for(machine_id):
    return ArmError(
        400,
        "NicReservedForAnotherVm",
        "Nic(s) in request is reserved for another Virtual Machine for 180 seconds. Please provide another nic(s) or"
        f" retry after 180 seconds. Reserved VM: {machine_id}",
        details=[],
    )


def in_use(resource, user):
    return ArmError(
        400,
        "NicInUse",
        f"Network Interface {resource.id} is used by existing resource {user}. In order to delete the network"
        " interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.",
        details=[],
    )


def check_configuration(cloud, configuration, machine_id):
    """Checks one of `networkInterfaceConfigurations` before anything is made of it."""
    if not configuration.get("name"):
        raise errors.missing("networkInterfaceConfiguration.name")
    for each in (configuration.get("properties") or {}).get("ipConfigurations") or []:
        properties = each.get("properties") or {}
        reference = (properties.get("subnet") or {}).get("id")
        subnet = cloud.get(reference or "", SUBNETS.type)
        if subnet is None:
            raise errors.reference_not_found(reference, machine_id)
        check_provisioned(cloud, subnet, machine_id)
        public = properties.get("publicIPAddressConfiguration")
        if public is not None:
            method = (public.get("properties") or {}).get("publicIPAllocationMethod", "Dynamic")
            check_public(public.get("sku") or {}, method, "IPv4")


def from_configuration(cloud, configuration, machine_id, location, zones):
    """Makes an interface of one of a virtual machine's `networkInterfaceConfigurations`, with its public addresses."""
    base = machine_id.split("/providers/")[0] + "/providers/Microsoft.Network"
    suffix = uuid.uuid4().hex[:8]
    given = copy.deepcopy(configuration.get("properties") or {})
    made = []
    for each in given.get("ipConfigurations") or []:
        public = each.setdefault("properties", {}).pop("publicIPAddressConfiguration", None)
        if public is None:
            continue
        properties = dict(public.get("properties") or {})
        option = properties.pop("deleteOption", "Detach")
        id = f"{base}/publicIPAddresses/{public['name']}-{suffix}"
        properties = {
            "publicIPAddressVersion": "IPv4",
            "idleTimeoutInMinutes": 4,
            "ipTags": [],
            "ipAddress": cloud.public_address(),
        } | properties
        top = {"sku": {"tier": "Regional", **(public.get("sku") or {})}, "zones": zones}
        address = cloud.add(Resource(id, PUBLIC_ADDRESSES.type, location, properties, public.get("tags"), **top))
        address.properties["resourceGuid"] = str(uuid.uuid4())
        address.becomes("Succeeded")
        each["properties"]["publicIPAddress"] = {"id": id, "properties": {"deleteOption": option}}
        made.append(address)
    id = f"{base}/networkInterfaces/{configuration['name']}-{suffix}"
    try:
        properties = INTERFACES.assemble(cloud, id, given, location)
    except ArmError:
        for address in made:
            cloud.remove(address)
        raise
    card = cloud.add(Resource(id, INTERFACES.type, location, properties, configuration.get("tags")))
    card.properties["resourceGuid"] = str(uuid.uuid4())
    card.becomes("Succeeded")
    return card


INTERFACES = Interfaces()
