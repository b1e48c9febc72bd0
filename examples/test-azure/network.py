"""Virtual networks with their subnets, network security groups, and public addresses."""

import copy
import ipaddress
import itertools
import uuid

import errors
import kinds
import operations
from cloud import Resource
from errors import ArmError
from kinds import Kind
from web import Reply

DELEGATION = "Microsoft.ContainerInstance/containerGroups"


class NetworkKind(Kind):
    """A type of Microsoft.Network: what `build` returns is there at once, and its operation goes on for a while."""

    def build(self, cloud, request, id, body, existing):
        """Returns the resource's properties and what else is shown beside them."""
        raise NotImplementedError

    def has_location(self):
        return True

    def put(self, cloud, request, id):
        body = request.json()
        existing = cloud.get(id, self.type)
        kinds.check_name(self.type, id.rsplit("/", 1)[1])
        kinds.check_conditions(request, existing)
        location = kinds.location_of(body, self.type) if self.has_location() else None
        kinds.check_place(existing, location, id.split("/")[4])
        self.check_idle(cloud, id)
        properties, top = self.build(cloud, request, id, body, existing)
        resource = existing
        if existing is None:
            resource = cloud.add(Resource(id, self.type, location, properties, kinds.tags_of(body), **top))
            resource.more["guid"] = str(uuid.uuid4())
        else:
            existing.properties, existing.top = properties, top
            existing.tags = kinds.tags_of(body)
        if self.has_location():
            resource.properties["resourceGuid"] = resource.more["guid"]
        resource.becomes("Updating")
        self.placed(cloud, resource, body)

        def done(error):
            self.settled(cloud, resource, "Failed" if error else "Succeeded")

        operation = operations.start(cloud, request, resource, self.provider, resource_location(cloud, resource), done)
        resource.more["operation"] = operation
        shown = self.show(cloud, resource, request)
        return operations.accepted(cloud, request, operation, 200 if existing else 201, shown)

    def placed(self, cloud, resource, body):
        """Does what follows from the resource's being there."""

    def settled(self, cloud, resource, state):
        """Ends the operation on a resource."""
        resource.becomes(state)

    def check_idle(self, cloud, id):
        """Refuses a change while another one goes on that this type cannot have beside it."""

    def show(self, cloud, resource, request):
        shown = resource.show()
        return {"name": shown.pop("name"), "id": shown.pop("id"), "etag": f'W/"{resource.etag}"'} | shown

    def check_unused(self, cloud, resource):
        """Refuses the deletion of what is in use."""

    def delete(self, cloud, request, id):
        resource = cloud.get(id, self.type)
        if resource is None:
            return Reply(204)
        self.check_idle(cloud, id)
        self.check_unused(cloud, resource)
        resource.becomes("Deleting")

        def done(error):
            if error is None:
                self.vanish(cloud, resource)
            else:
                resource.becomes("Failed")

        operation = operations.start(cloud, request, resource, self.provider, resource_location(cloud, resource), done)
        resource.more["operation"] = operation
        return operations.accepted(cloud, request, operation, 202, has_location=True)


def retryable(cloud, code, message):
    """Returns the refusal of what will be possible in a moment."""
    wait = cloud.settings["retry_after"]
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return ArmError(429, "RetryableError", "A retryable error occurred.", details=[{"code": code, "message": message}], headers=headers)


def check_network_idle(cloud, network_id):
    """Refuses a change of a network or its subnets while another one goes on."""
    if not cloud.settings["network_conflicts"]:
        return
    for each in (cloud.get(network_id, VirtualNetworks.type), *SUBNETS.within(cloud, network_id)):
        operation = each and each.more.get("operation")
        if operation and operation.status == "InProgress":
            kind = "Subnet" if "/subnets/" in each.key else "VirtualNetwork"
            verb = "Delete" if each.state == "Deleting" else "Put"
            message = f"Operation {verb}{kind}Operation ({operation.id}) is updating resource {each.id}. The call can be retried in 60 seconds."
            raise retryable(cloud, "RetryableErrorDueToAnotherOperation", message)


def check_provisioned(cloud, resource, user_id):
    """Refuses to use what is still being changed."""
    if cloud.settings["network_conflicts"] and resource.state in ("Updating", "Deleting"):
        kind = resource.type.rsplit("/", 1)[1]
        verb = "Delete" if resource.state == "Deleting" else "Put"
        message = f"Cannot proceed with operation because resource {resource.id} used by resource {user_id} is not in Succeeded state. Resource is in {resource.state} state and the last operation that updated/is updating the resource is {verb}{kind[0].upper()}{kind[1:].rstrip('s')}Operation."
        raise retryable(cloud, "ReferencedResourceNotProvisioned", message)


def resource_location(cloud, resource):
    if resource.location:
        return resource.location
    parent = cloud.get(resource.id.rsplit("/", 2)[0])
    return parent.location if parent else "eastus"


def prefixes(values, name):
    try:
        found = [ipaddress.ip_network(value) for value in values]
    except (ValueError, TypeError):
        raise ArmError(400, "InvalidAddressPrefixFormat", f"Address prefix {values} of resource {name} is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.", details=[]) from None
    if not found:
        raise ArmError(400, "InvalidRequestFormat", "Cannot parse the request.", details=[{"code": "MissingJsonReferenceId", "message": f"No address prefix of {name}."}])
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
        shown["properties"]["subnets"] = [SUBNETS.show(cloud, each, request) for each in SUBNETS.within(cloud, resource.id)]
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
                raise ArmError(400, "NetcfgInvalidSubnet", f"Subnet '{name}' is not valid in virtual network '{network}'.", details=[])
            for other in self.within(cloud, id.rsplit("/", 2)[0]):
                theirs = other.properties.get("addressPrefixes") or [other.properties["addressPrefix"]]
                if other.key != id.lower() and any(prefix.overlaps(each) for each in prefixes(theirs, id)):
                    raise ArmError(400, "NetcfgSubnetRangesOverlap", f"Subnet '{name}' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '{network}'.", details=[])

    def build(self, cloud, request, id, body, existing):
        network = cloud.get(id.rsplit("/", 2)[0], VirtualNetworks.type)
        if network is None:
            raise ArmError(404, "ParentResourceNotFound", f"Failed to perform 'write' on resource(s) of type 'virtualNetworks/subnets', because the parent resource '{id.rsplit('/', 2)[0]}' could not be found.")
        self.check(cloud, id, body, network.properties["addressSpace"]["addressPrefixes"])
        if existing is not None and existing.more.get("links") and not self.delegated(body):
            raise self.needs_delegation(existing)
        return self.properties(id, body), {}

    def properties(self, id, body):
        properties = copy.deepcopy(kinds.properties_of(body))
        for delegation in properties.setdefault("delegations", []):
            delegation["id"] = f"{id}/delegations/{delegation.get('name')}"
            delegation["type"] = "Microsoft.Network/virtualNetworks/subnets/delegations"
            delegation["properties"] = {"provisioningState": "Succeeded", **delegation.get("properties", {}), "actions": ["Microsoft.Network/virtualNetworks/subnets/action"]}
        return {"privateEndpointNetworkPolicies": "Disabled", "privateLinkServiceNetworkPolicies": "Enabled"} | properties

    def place(self, cloud, id, body):
        """Creates or changes a subnet that came with its network."""
        existing = cloud.get(id, self.type)
        if existing is None:
            existing = cloud.add(Resource(id, self.type, None, {}))
        existing.properties = self.properties(id, body)
        existing.becomes("Updating")

    def delegated(self, body):
        delegations = (body.get("properties") or {}).get("delegations") or []
        return any((each.get("properties") or {}).get("serviceName", "").lower() == DELEGATION.lower() for each in delegations)

    def show(self, cloud, resource, request):
        shown = super().show(cloud, resource, request)
        configurations = [{"id": each} for each in sorted(used_by(cloud, resource))]
        if configurations:
            shown["properties"]["ipConfigurations"] = configurations
        if resource.more.get("links"):
            shown["properties"]["serviceAssociationLinks"] = [{
                "name": "acisal", "id": f"{resource.id}/serviceAssociationLinks/acisal",
                "properties": {"provisioningState": "Succeeded", "linkedResourceType": "Microsoft.ContainerInstance/containerGroups", "link": f"{resource.id}/providers/Microsoft.ContainerInstance/serviceAssociationLinks/default", "allowDelete": False, "locations": []},
            }]
        return shown

    def needs_delegation(self, resource):
        message = f"Subnet {resource.id} requires any of the following delegation(s) [{DELEGATION}] to reference service association link {resource.id}/serviceAssociationLinks/acisal."
        return ArmError(400, "SubnetMissingRequiredDelegation", message, details=[])

    def check_unused(self, cloud, resource):
        users = sorted(used_by(cloud, resource))
        if not users and resource.more.get("links"):
            users = [f"{resource.id}/serviceAssociationLinks/acisal"]
        if users:
            message = (
                f"Subnet {resource.name} is in use by {users[0]} and cannot be deleted. In order to delete the subnet, delete all "
                "the resources within the subnet. See aka.ms/deletesubnet."
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
    raise ArmError(400, "SubnetIsFull", f"Subnet {subnet.name} with address prefix {prefix} does not have enough capacity for 1 IP addresses.", details=[])


class SecurityGroups(NetworkKind):
    """Network security groups with their rules."""

    type = "Microsoft.Network/networkSecurityGroups"

    def build(self, cloud, request, id, body, existing):
        properties = copy.deepcopy(kinds.properties_of(body))
        seen = set()
        for rule in properties.setdefault("securityRules", []):
            self.check_rule(id, rule, seen)
        return properties, {}

    def check_rule(self, id, rule, seen):
        name, properties = rule.get("name"), rule.get("properties") or {}
        for field in ("protocol", "access", "direction", "priority"):
            if field not in properties:
                raise ArmError(400, "SecurityRuleParameterNotSpecified", f"Required security rule parameters are missing for security rule with Id: {id}/securityRules/{name}. Security rule must specify {field}.", details=[])
        if not 100 <= properties["priority"] <= 4096:
            raise ArmError(400, "SecurityRuleInvalidPriority", f"Security rule has invalid Priority. Value provided: {properties['priority']} Allowed range 100-4096.", details=[])
        if (properties["direction"], properties["priority"]) in seen:
            raise ArmError(400, "SecurityRuleConflict", f"Security rule {name} conflicts with another one. Rules cannot have the same Priority and Direction.", details=[])
        for one, many in (("sourceAddressPrefix", "sourceAddressPrefixes"), ("destinationAddressPrefix", "destinationAddressPrefixes"), ("sourcePortRange", "sourcePortRanges"), ("destinationPortRange", "destinationPortRanges")):
            if not properties.get(one) and not properties.get(many):
                raise ArmError(400, "SecurityRuleParameterNotSpecified", f"Required security rule parameters are missing for security rule with Id: {id}/securityRules/{name}. Security rule must specify {one} or {many}.", details=[])
        seen.add((properties["direction"], properties["priority"]))
        rule["id"] = f"{id}/securityRules/{name}"
        properties["provisioningState"] = "Succeeded"

    def show(self, cloud, resource, request):
        shown = super().show(cloud, resource, request)
        cards = [card.id for card in cloud.of("Microsoft.Network/networkInterfaces") if same(card.properties.get("networkSecurityGroup"), resource)]
        subnets = [subnet.id for subnet in cloud.of(Subnets.type) if same(subnet.properties.get("networkSecurityGroup"), resource)]
        for name, ids in (("networkInterfaces", cards), ("subnets", subnets)):
            if ids:
                shown["properties"][name] = [{"id": id} for id in ids]
        return shown

    def check_unused(self, cloud, resource):
        shown = self.show(cloud, resource, None)["properties"]
        users = [user["id"] for name in ("networkInterfaces", "subnets") for user in shown.get(name, [])]
        if users:
            message = f"Network security group {resource.id} cannot be deleted because it is in use by the following resources: {', '.join(users)}. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg."
            raise ArmError(400, "InUseNetworkSecurityGroupCannotBeDeleted", message, details=[])


def same(reference, resource):
    return reference is not None and reference.get("id", "").lower() == resource.key


class PublicAddresses(NetworkKind):
    """Public IP addresses."""

    type = "Microsoft.Network/publicIPAddresses"

    def build(self, cloud, request, id, body, existing):
        sku, given = body.get("sku") or {}, kinds.properties_of(body)
        check_public(sku, given.get("publicIPAllocationMethod", "Dynamic"), given.get("publicIPAddressVersion", "IPv4"))
        location = kinds.place(body["location"])
        properties = {"publicIPAddressVersion": "IPv4", "idleTimeoutInMinutes": 4, "ipTags": []} | copy.deepcopy(given)
        label = (properties.get("dnsSettings") or {}).get("domainNameLabel")
        if label:
            self.check_label(cloud, id, label, location)
            properties["dnsSettings"]["fqdn"] = f"{label}.{location}.cloudapp.azure.com"
        properties["ipAddress"] = existing.properties["ipAddress"] if existing else cloud.public_address()
        zones = kinds.zones_of(body, location, self.type, id.rsplit("/", 1)[1])
        top = {"sku": {"tier": "Regional", **sku}} | ({"zones": zones} if zones else {})
        if existing and "ipConfiguration" in existing.properties:
            properties["ipConfiguration"] = existing.properties["ipConfiguration"]
        return properties, top

    def check_label(self, cloud, id, label, location):
        for other in cloud.of(self.type):
            if other.key != id.lower() and other.location == location and (other.properties.get("dnsSettings") or {}).get("domainNameLabel", "").lower() == label.lower():
                raise ArmError(400, "DnsRecordInUse", f"DNS record {label}.{location}.cloudapp.azure.com is already used by another public IP.", details=[])

    def check_unused(self, cloud, resource):
        user = resource.properties.get("ipConfiguration")
        if user:
            message = f"Public IP address {resource.id} can not be deleted since it is still allocated to resource {user['id']}. In order to delete the public IP, disassociate/detach the Public IP address from the resource.  To learn how to do this, see aka.ms/deletepublicip."
            raise ArmError(400, "PublicIPAddressCannotBeDeleted", message, details=[])


def check_public(sku, method, version):
    if sku.get("name", "Basic") == "Basic":
        message = f"Cannot create more than 0 {version} Basic SKU public IP addresses for this subscription in this region."
        raise ArmError(400, f"{version}BasicSkuPublicIpCountLimitReached", message, details=[])
    if sku["name"] == "Standard" and method != "Static":
        raise ArmError(400, "StandardSkuPublicIPAddressesMustBeStatic", "Standard sku publicIp must have AllocationMethod set to Static.", details=[])


VIRTUAL_NETWORKS, SUBNETS = VirtualNetworks(), Subnets()
SECURITY_GROUPS, PUBLIC_ADDRESSES = SecurityGroups(), PublicAddresses()
