"""Network security groups with their rules."""

import copy

import kinds
from errors import ArmError
from network_kind import NetworkKind


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
                raise ArmError(
                    400,
                    "SecurityRuleParameterNotSpecified",
                    "Required security rule parameters are missing for security rule with Id:"
                    f" {id}/securityRules/{name}. Security rule must specify {field}.",
                    details=[],
                )
        if not 100 <= properties["priority"] <= 4096:
            raise ArmError(
                400,
                "SecurityRuleInvalidPriority",
                f"Security rule has invalid Priority. Value provided: {properties['priority']} Allowed range 100-4096.",
                details=[],
            )
        if (properties["direction"], properties["priority"]) in seen:
            raise ArmError(
                400,
                "SecurityRuleConflict",
                f"Security rule {name} conflicts with another one. Rules cannot have the same Priority and Direction.",
                details=[],
            )
        for one, many in (
            ("sourceAddressPrefix", "sourceAddressPrefixes"),
            ("destinationAddressPrefix", "destinationAddressPrefixes"),
            ("sourcePortRange", "sourcePortRanges"),
            ("destinationPortRange", "destinationPortRanges"),
        ):
            if not properties.get(one) and not properties.get(many):
                raise ArmError(
                    400,
                    "SecurityRuleParameterNotSpecified",
                    "Required security rule parameters are missing for security rule with Id:"
                    f" {id}/securityRules/{name}. Security rule must specify {one} or {many}.",
                    details=[],
                )
        seen.add((properties["direction"], properties["priority"]))
        rule["id"] = f"{id}/securityRules/{name}"
        properties["provisioningState"] = "Succeeded"

    def show(self, cloud, resource, request):
        shown = super().show(cloud, resource, request)
        cards = [
            card.id
            for card in cloud.of("Microsoft.Network/networkInterfaces")
            if same(card.properties.get("networkSecurityGroup"), resource)
        ]
        subnets = [
            subnet.id
            for subnet in cloud.of("Microsoft.Network/virtualNetworks/subnets")
            if same(subnet.properties.get("networkSecurityGroup"), resource)
        ]
        for name, ids in (("networkInterfaces", cards), ("subnets", subnets)):
            if ids:
                shown["properties"][name] = [{"id": id} for id in ids]
        return shown

    def check_unused(self, cloud, resource):
        shown = self.show(cloud, resource, None)["properties"]
        users = [user["id"] for name in ("networkInterfaces", "subnets") for user in shown.get(name, [])]
        if users:
            message = (
                f"Network security group {resource.id} cannot be deleted because it is in use by the following"
                f" resources: {', '.join(users)}. In order to delete the Network security group, remove the association"
                " with the resource(s). To learn how to do this, see aka.ms/deletensg."
            )
            raise ArmError(400, "InUseNetworkSecurityGroupCannotBeDeleted", message, details=[])


def same(reference, resource):
    return reference is not None and reference.get("id", "").lower() == resource.key


SECURITY_GROUPS = SecurityGroups()
