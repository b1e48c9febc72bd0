"""Members that bodies may have, with the API version that brought them: Azure refuses others, and those of later versions.

From Microsoft's JSON Schemas of templates (github.com/Azure/azure-resource-manager-schemas), newest of 2026. A member without
a version is older than 2019. Objects that are not listed take anything.
"""

from errors import ArmError, invalid_content

# Of every resource, also when it is sent as it was read.
TOP = "id name type etag location tags properties"
ADDRESS_OF_MACHINE = "properties.networkProfile.networkInterfaceConfigurations.properties.ipConfigurations.properties"

MACHINE = {
    "": TOP + " zones identity plan extendedLocation@2020-12-01 placement@2025-04-01 managedBy@2021-07-01 resources",
    "properties": (
        "vmId provisioningState instanceView timeCreated availabilitySet diagnosticsProfile hardwareProfile licenseType"
        " networkProfile osProfile storageProfile proximityPlacementGroup additionalCapabilities"
        " billingProfile@2019-03-01 evictionPolicy@2019-03-01 host@2019-03-01 priority@2019-03-01"
        " virtualMachineScaleSet@2019-03-01 extensionsTimeBudget@2020-06-01 hostGroup@2020-06-01"
        " securityProfile@2020-06-01 platformFaultDomain@2020-12-01 scheduledEventsProfile@2021-03-01"
        " userData@2021-03-01 capacityReservation@2021-04-01 applicationProfile@2021-07-01"
        " scheduledEventsPolicy@2024-03-01 resiliencyProfile@2025-11-01 interconnectBlockProfile@2026-03-01"
    ),
    "properties.hardwareProfile": "vmSize vmSizeProperties@2021-07-01",
    "properties.storageProfile": (
        "dataDisks imageReference osDisk diskControllerType@2022-08-01 alignRegionalDisksToVMZone@2024-11-01"
    ),
    "properties.storageProfile.osDisk": (
        "caching createOption diskSizeGB encryptionSettings image name osType vhd managedDisk "
        "writeAcceleratorEnabled diffDiskSettings deleteOption@2021-03-01 storageFaultDomainAlignment@2025-11-01"
    ),
    "properties.storageProfile.dataDisks": (
        "caching createOption diskSizeGB image lun name vhd managedDisk writeAcceleratorEnabled "
        "toBeDetached@2019-03-01 detachOption@2020-12-01 deleteOption@2021-03-01 sourceResource@2024-03-01 "
        "diskIOPSReadWrite@2025-04-01 diskMBpsReadWrite@2025-04-01 storageFaultDomainAlignment@2025-11-01"
    ),
    "properties.storageProfile.osDisk.managedDisk": (
        "id storageAccountType diskEncryptionSet@2019-07-01 securityProfile@2021-11-01"
    ),
    "properties.storageProfile.imageReference": (
        "offer publisher sku version exactVersion id sharedGalleryImageId@2021-07-01 communityGalleryImageId@2021-11-01"
    ),
    "properties.osProfile": (
        "adminPassword adminUsername computerName customData linuxConfiguration secrets windowsConfiguration "
        "allowExtensionOperations requireGuestProvisionSignal@2019-03-01"
    ),
    "properties.osProfile.linuxConfiguration": (
        "disablePasswordAuthentication ssh provisionVMAgent patchSettings@2020-12-01 "
        "enableVMAgentPlatformUpdates@2022-08-01"
    ),
    "properties.osProfile.linuxConfiguration.ssh": "publicKeys",
    "properties.osProfile.linuxConfiguration.ssh.publicKeys": "path keyData",
    "properties.networkProfile": (
        "networkInterfaces networkApiVersion@2021-03-01 networkInterfaceConfigurations@2021-03-01 "
        "interconnectGroupProfile@2026-03-01"
    ),
    "properties.networkProfile.networkInterfaces": "id properties",
    "properties.networkProfile.networkInterfaces.properties": "primary deleteOption@2021-03-01",
    "properties.networkProfile.networkInterfaceConfigurations": "name properties tags@2025-04-01",
    "properties.networkProfile.networkInterfaceConfigurations.properties": (
        "deleteOption dnsSettings dscpConfiguration "
        "enableAcceleratedNetworking enableFpga enableIPForwarding ipConfigurations networkSecurityGroup primary "
        "disableTcpStateTracking@2022-08-01 auxiliaryMode@2023-07-01 auxiliarySku@2023-07-01"
    ),
    "properties.networkProfile.networkInterfaceConfigurations.properties.ipConfigurations": "name properties",
    ADDRESS_OF_MACHINE: (
        "applicationGatewayBackendAddressPools applicationSecurityGroups loadBalancerBackendAddressPools primary "
        "privateIPAddressVersion publicIPAddressConfiguration subnet"
    ),
    ADDRESS_OF_MACHINE + ".publicIPAddressConfiguration": "name properties sku tags@2025-04-01",
    ADDRESS_OF_MACHINE + ".publicIPAddressConfiguration.properties": (
        "deleteOption dnsSettings idleTimeoutInMinutes ipTags "
        "publicIPAddressVersion publicIPAllocationMethod publicIPPrefix"
    ),
}

INTERFACE = {
    "": TOP + " extendedLocation@2020-07-01",
    "properties": (
        "provisioningState resourceGuid dnsSettings enableIPForwarding ipConfigurations macAddress networkSecurityGroup"
        " primary virtualMachine enableAcceleratedNetworking tapConfigurations hostedWorkloads vnetEncryptionSupported"
        " allowPort25Out nicType@2020-07-01 privateLinkService@2020-07-01 migrationPhase@2020-08-01"
        " workloadType@2021-02-01 auxiliaryMode@2021-08-01 disableTcpStateTracking@2022-05-01 auxiliarySku@2022-11-01"
    ),
    "properties.ipConfigurations": "id name type etag properties",
    "properties.ipConfigurations.properties": (
        "provisioningState loadBalancerBackendAddressPools loadBalancerInboundNatRules primary "
        "privateIPAddress privateIPAllocationMethod publicIPAddress subnet applicationGatewayBackendAddressPools "
        "privateIPAddressVersion applicationSecurityGroups virtualNetworkTaps privateLinkConnectionProperties "
        "gatewayLoadBalancer@2021-02-01 privateIPAddressPrefixLength@2023-11-01"
    ),
}

ADDRESS = {
    "": TOP + " sku zones extendedLocation@2020-07-01",
    "properties": (
        "provisioningState resourceGuid dnsSettings idleTimeoutInMinutes ipAddress ipConfiguration"
        " publicIPAllocationMethod publicIPAddressVersion ipTags publicIPPrefix ddosSettings"
        " linkedPublicIPAddress@2020-07-01 migrationPhase@2020-07-01 natGateway@2020-07-01"
        " servicePublicIPAddress@2020-08-01 deleteOption@2021-02-01"
    ),
}

SUBNET = {
    "": "id name type etag properties",
    "properties": (
        "provisioningState purpose addressPrefix ipConfigurations networkSecurityGroup routeTable serviceEndpoints"
        " serviceEndpointPolicies addressPrefixes delegations serviceAssociationLinks resourceNavigationLinks"
        " natGateway privateEndpoints privateEndpointNetworkPolicies privateLinkServiceNetworkPolicies"
        " ipAllocations@2020-03-01 applicationGatewayIPConfigurations@2020-08-01 defaultOutboundAccess@2023-05-01"
        " sharingScope@2023-11-01 ipamPoolPrefixAllocations@2024-05-01"
    ),
    "properties.delegations": "id name type etag properties",
    "properties.delegations.properties": "serviceName actions provisioningState",
}

NETWORK = {
    "": TOP + " extendedLocation@2020-07-01",
    "properties": (
        "provisioningState resourceGuid addressSpace dhcpOptions subnets virtualNetworkPeerings enableDdosProtection"
        " enableVmProtection ddosProtectionPlan bgpCommunities@2019-08-01 ipAllocations@2020-03-01"
        " flowTimeoutInMinutes@2021-02-01 encryption@2021-05-01 privateEndpointVNetPolicies@2024-03-01"
    ),
} | {f"properties.subnets{'.' if path else ''}{path}": names for path, names in SUBNET.items()}

SECURITY = {
    "": TOP,
    "properties": (
        "provisioningState resourceGuid securityRules defaultSecurityRules networkInterfaces subnets flowLogs "
        "flushConnection@2022-01-01"
    ),
    "properties.securityRules": "id name type etag properties",
    "properties.securityRules.properties": (
        "provisioningState access description destinationAddressPrefix destinationPortRange direction priority protocol"
        " sourceAddressPrefix sourcePortRange destinationAddressPrefixes destinationPortRanges sourceAddressPrefixes"
        " sourcePortRanges destinationApplicationSecurityGroups sourceApplicationSecurityGroups"
    ),
}

CONTAINERS = {
    "": TOP + " identity@2018-10-01 zones@2021-09-01",
    # A network profile has a refusal of its own.
    "properties": (
        "provisioningState instanceView networkProfile isCustomProvisioningTimeout containers imageRegistryCredentials"
        " ipAddress osType restartPolicy volumes diagnostics dnsConfig encryptionProperties@2019-12-01"
        " initContainers@2019-12-01 sku@2019-12-01 subnetIds@2021-07-01 extensions@2022-09-01"
        " confidentialComputeProperties@2022-10-01-preview priority@2022-10-01-preview"
        " provisioningTimeoutInSeconds@2023-02-01-preview containerGroupProfile@2024-05-01-preview"
        " standbyPoolProfile@2024-05-01-preview secretReferences@2024-10-01-preview identityAcls@2024-11-01-preview"
    ),
    "properties.ipAddress": (
        "ip ports type fqdn dnsNameLabel autoGeneratedDomainNameLabelScope@2021-10-01"
        " dnsNameLabelReusePolicy@2021-07-01"
    ),
    "properties.ipAddress.ports": "port protocol",
    "properties.subnetIds": "id name",
    "properties.imageRegistryCredentials": (
        "password server username identity@2021-07-01 identityUrl@2021-07-01 passwordReference@2024-10-01-preview"
    ),
    "properties.containers": "name properties",
    "properties.containers.properties": (
        "command environmentVariables image ports resources volumeMounts livenessProbe "
        "readinessProbe instanceView securityContext@2022-10-01-preview configMap@2024-05-01-preview"
    ),
    "properties.containers.properties.ports": "port protocol",
    "properties.containers.properties.environmentVariables": (
        "name value secureValue secureValueReference@2024-10-01-preview"
    ),
    "properties.containers.properties.resources": "requests limits",
    "properties.containers.properties.resources.requests": "cpu memoryInGB gpu",
    "properties.containers.properties.resources.requests.gpu": "count sku",
}

# Members that are lists of the objects listed above.
LISTS = {
    "dataDisks",
    "publicKeys",
    "networkInterfaces",
    "networkInterfaceConfigurations",
    "ipConfigurations",
    "subnets",
    "delegations",
    "securityRules",
    "containers",
    "ports",
    "environmentVariables",
    "imageRegistryCredentials",
    "subnetIds",
}

BODIES = {
    "Microsoft.Compute/virtualMachines": MACHINE,
    "Microsoft.Network/networkInterfaces": INTERFACE,
    "Microsoft.Network/publicIPAddresses": ADDRESS,
    "Microsoft.Network/virtualNetworks": NETWORK,
    "Microsoft.Network/virtualNetworks/subnets": SUBNET,
    "Microsoft.Network/networkSecurityGroups": SECURITY,
    "Microsoft.ContainerInstance/containerGroups": CONTAINERS,
}


def has(version, needed):
    """Returns whether an API version has what one brought. A preview's members are also in later previews only."""
    if needed.endswith("-preview") and not version.endswith("-preview"):
        # The stable version that took them over.
        return version >= "2025-09-01"
    return version.removesuffix("-preview") >= needed.removesuffix("-preview")


def check(type, version, body):
    """Refuses a body with a member that this version does not have."""
    table = BODIES.get(type)
    if table is None:
        return
    known = {path: dict(name.partition("@")[::2] for name in names.split()) for path, names in table.items()}
    walk(type, version, known, body, "", "")


def walk(type, version, known, value, path, shown):
    if value is None or path not in known:
        return
    is_list = path.rsplit(".", 1)[-1] in LISTS
    if not isinstance(value, list if is_list else dict):
        raise invalid_content(
            f"Error converting value to type '{'Array' if is_list else 'Object'}'. Path '{shown}', line 1, position 1."
        )
    for number, each in enumerate(value if is_list else [value]):
        at = f"{shown}[{number}]" if is_list else shown
        if not isinstance(each, dict):
            raise invalid_content(f"Error converting value to type 'Object'. Path '{at}', line 1, position 1.")
        walk_object(type, version, known, each, path, at)


def walk_object(type, version, known, value, path, shown):
    members = {name.lower(): (name, needed) for name, needed in known[path].items()}
    for name, inner in value.items():
        at = f"{shown}.{name}" if shown else name
        written, needed = members.get(name.lower(), (None, ""))
        if written is None or (needed and not has(version, needed)):
            raise refusal(type, name, path, at)
        walk(type, version, known, inner, f"{path}.{written}" if path else written, at)


def refusal(type, name, path, at):
    owner = path.rsplit(".", 1)[-1] or "resource"
    message = (
        f"Could not find member '{name}' on object of type '{owner[0].upper()}{owner[1:]}'. Path '{at}', line 1,"
        " position 1."
    )
    if type.startswith("Microsoft.Compute"):
        return ArmError(400, "BadRequest", message, f"vm.{at}")
    if type.startswith("Microsoft.Network"):
        return ArmError(
            400,
            "InvalidRequestFormat",
            "Cannot parse the request.",
            details=[{"code": "InvalidJson", "message": message}],
        )
    return ArmError(
        400, "InvalidRequestContent", f"The request content was invalid and could not be deserialized: '{message}'."
    )
