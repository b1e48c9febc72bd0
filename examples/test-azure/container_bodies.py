"""Checks of what a body says about a container group, with the service's refusals."""

import re

from errors import ArmError
from networks import SUBNETS

# What an image does, by a word in its name.
INACCESSIBLE, BUSY, MISSING, CRASHING = "inaccessible", "busy-registry", "missing", "crash"


def image_ends(image):
    """Returns the exit status with which a container of this image ends by itself: `job-exits-3` ends with 3."""
    found = re.search(r"exits-(\d+)", image)
    return int(found[1]) if found else None


def required(name, group):
    return ArmError(400, "InvalidRequestContent", f"The '{name}' of container group '{group}' is missing.")


def check(cloud, request, properties, name):
    """Refuses a body that the service would refuse."""
    if properties.get("osType") not in ("Linux", "Windows"):
        raise ArmError(
            400, "InvalidOsType", f"The os type '{properties.get('osType')}' for container group '{name}' is invalid."
        )
    containers = properties.get("containers")
    if not containers:
        raise required("containers", name)
    check_network(cloud, request, properties, name)
    names = set()
    for container in containers:
        check_container(container, name, names)
        check_image(container, properties.get("imageRegistryCredentials") or [], name)
    address = properties.get("ipAddress")
    if address is not None:
        check_address(address, containers, properties, name)
    if properties.get("restartPolicy", "Always") not in ("Always", "OnFailure", "Never"):
        raise ArmError(
            400,
            "InvalidRestartPolicy",
            f"The restart policy '{properties['restartPolicy']}' for container group '{name}' is invalid.",
        )


def check_container(container, group, names):
    name, properties = container.get("name"), container.get("properties") or {}
    if not name or not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise ArmError(
            400,
            "InvalidContainerName",
            f"The container name '{name}' in container group '{group}' is invalid. It must contain no more than 63"
            " characters and must match the regex '[a-z0-9]([-a-z0-9]*[a-z0-9])?' (e.g. 'my-name').",
        )
    if name in names:
        raise ArmError(
            400, "DuplicateContainerName", f"The container name '{name}' in container group '{group}' is not unique."
        )
    names.add(name)
    if not properties.get("image"):
        raise required(f"image' of container '{name}", group)
    requests = (properties.get("resources") or {}).get("requests") or {}
    for part in ("cpu", "memoryInGB"):
        value = requests.get(part)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
            raise ArmError(
                400,
                "ResourceRequestsNotSpecified",
                f"The resource requests '{part}' of container '{name}' in container group '{group}' is missing or not"
                " valid.",
            )
    command = properties.get("command")
    if command is not None and not (isinstance(command, list) and all(isinstance(part, str) for part in command)):
        raise ArmError(
            400,
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: 'command of container {name} is a list of"
            " strings'.",
        )
    for variable in properties.get("environmentVariables") or []:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", variable.get("name") or ""):
            raise ArmError(
                400,
                "InvalidEnvironmentVariableName",
                f"The environment variable name '{variable.get('name')}' in container '{name}' of container group"
                f" '{group}' is invalid.",
            )


def check_image(container, credentials, group):
    image = container["properties"]["image"]
    registry = image.split("/")[0] if "." in image.split("/")[0] else "index.docker.io"
    known = next((each for each in credentials if each.get("server") == registry), None)
    refused = known is not None and known.get("password") == "wrong"
    if BUSY in image:
        message = f"An error response is received from the docker registry '{registry}'. Please retry later."
        raise ArmError(409, "RegistryErrorResponse", message)
    private = registry.endswith(".azurecr.io") and (
        known is None or not (known.get("password") or known.get("identity"))
    )
    if INACCESSIBLE in image or refused or private:
        raise ArmError(
            400,
            "InaccessibleImage",
            f"The image '{image}' in container group '{group}' is not accessible. Please check the image and registry"
            " credential.",
        )


def check_network(cloud, request, properties, name):
    version = request.version
    if "networkProfile" in properties and version >= "2021-07-01":
        raise ArmError(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: 'Could not find member 'networkProfile' on"
            " object of type 'ContainerGroupProperties'. Use subnetIds.'.",
        )
    if "networkProfile" in properties:
        raise ArmError(
            400,
            "NetworkProfileNotSupported",
            f"Network profiles of container group '{name}' are not supported any more.",
        )
    if "subnetIds" in properties and version < "2021-07-01":
        raise ArmError(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: 'Could not find member 'subnetIds' on"
            " object of type 'ContainerGroupProperties'.'.",
        )
    for each in properties.get("subnetIds") or []:
        subnet = cloud.get(each.get("id") or "", SUBNETS.type)
        if subnet is None:
            raise ArmError(
                400, "SubnetNotFound", f"The subnet '{each.get('id')}' of container group '{name}' was not found."
            )
        if not SUBNETS.delegated({"properties": subnet.properties}):
            raise ArmError(
                400,
                "SubnetMissingRequiredDelegation",
                f"Subnet missing required delegation 'Microsoft.ContainerInstance' for container group '{name}'.",
            )


def check_address(address, containers, properties, name):
    kind, ports = address.get("type"), address.get("ports")
    if kind not in ("Public", "Private"):
        raise ArmError(
            400, "InvalidIPAddressType", f"The IP address type '{kind}' of container group '{name}' is invalid."
        )
    if not ports:
        raise ArmError(
            400, "MissingIpAddressPorts", f"The ports in the 'ipAddress' of container group '{name}' cannot be empty."
        )
    if (kind == "Private") != bool(properties.get("subnetIds")):
        raise ArmError(
            400,
            "PrivateIPAddressNotSupported" if kind == "Private" else "PublicIPAddressNotSupported",
            f"IP address type '{kind}' of container group '{name}' goes {'only' if kind == 'Private' else 'not'} with"
            " 'subnetIds'.",
        )
    exposed = [port.get("port") for container in containers for port in container["properties"].get("ports") or []]
    for port in ports:
        if port.get("port") not in exposed:
            raise ArmError(
                400,
                "NotExposedPort",
                f"Port '{port.get('port')}' of the IP address in container group '{name}' is not exposed by any"
                " container.",
            )
    for port in exposed:
        if exposed.count(port) > 1:
            raise ArmError(
                400, "DuplicateContainerPorts", f"Duplicate ports '{port}' found in container group '{name}'."
            )
    label = address.get("dnsNameLabel")
    if label is not None:
        if kind == "Private":
            raise ArmError(
                400,
                "DnsNameLabelNotSupported",
                f"The DNS name label of container group '{name}' goes only with a public IP address.",
            )
        if not re.fullmatch(r"[a-z][a-z0-9-]{3,61}[a-z0-9]", label):
            message = (
                f"The DNS name label '{label}' in container group '{name}' is invalid. It can contain only lowercase"
                " letters, numbers and hyphens. The first character must be a letter. The last character must be a"
                " letter or number. The value must be between 5 and 63 characters long."
            )
            raise ArmError(400, "InvalidDnsNameLabel", message)
