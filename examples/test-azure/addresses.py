"""Public IP addresses, of the kind that Azure still offers."""

import copy

import kinds
from errors import ArmError
from network_kind import NetworkKind


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
            if (
                other.key != id.lower()
                and other.location == location
                and (other.properties.get("dnsSettings") or {}).get("domainNameLabel", "").lower() == label.lower()
            ):
                raise ArmError(
                    400,
                    "DnsRecordInUse",
                    f"DNS record {label}.{location}.cloudapp.azure.com is already used by another public IP.",
                    details=[],
                )

    def check_unused(self, cloud, resource):
        user = resource.properties.get("ipConfiguration")
        if user:
            message = (
                f"Public IP address {resource.id} can not be deleted since it is still allocated to resource"
                f" {user['id']}. In order to delete the public IP, disassociate/detach the Public IP address from the"
                " resource.  To learn how to do this, see aka.ms/deletepublicip."
            )
            raise ArmError(400, "PublicIPAddressCannotBeDeleted", message, details=[])


def check_public(sku, method, version):
    if sku.get("name", "Basic") == "Basic":
        message = (
            f"Cannot create more than 0 {version} Basic SKU public IP addresses for this subscription in this region."
        )
        raise ArmError(400, f"{version}BasicSkuPublicIpCountLimitReached", message, details=[])
    if sku["name"] == "Standard" and method != "Static":
        raise ArmError(
            400,
            "StandardSkuPublicIPAddressesMustBeStatic",
            "Standard sku publicIp must have AllocationMethod set to Static.",
            details=[],
        )


PUBLIC_ADDRESSES = PublicAddresses()
