"""Checks of what a body says about a virtual machine, with the service's refusals."""

import base64
import binascii
import re

import errors
from errors import ArmError, invalid_parameter
from kinds import matches
from settings import IMAGES, MARKETPLACE, NO_IMAGES, SIZES

FORBIDDEN_USERS = (
    "administrator admin user user1 test user2 test1 user3 admin1 1 123 a actuser adm admin2 aspnet backup console"
    " david guest john owner root server sql support support_388945a0 sys test2 test3 user4 user5"
).split()


def is_windows(image):
    return str(image.get("publisher", "")).lower().startswith("microsoftwindows")


def check_size(properties, location):
    size = (properties.get("hardwareProfile") or {}).get("vmSize")
    if not size:
        raise errors.missing("vmSize")
    if size.lower().startswith("test_"):
        return size
    known = {name.lower(): name for name in SIZES}
    if size.lower() not in known:
        message = (
            f"The value {size} provided for the VM size is not valid. The valid sizes in the current region are:"
            f" {','.join(SIZES)}. Find out more on the valid VM sizes in each region at https://aka.ms/azure-regions."
        )
        raise invalid_parameter("vmSize", message)
    return known[size.lower()]


def cores(size):
    return SIZES.get(size, 1)


def check_image(cloud, body, properties):
    """Returns the image, and whether it runs Windows."""
    storage = properties.get("storageProfile")
    if not storage:
        raise errors.missing("storageProfile")
    image, disk = storage.get("imageReference"), storage.get("osDisk") or {}
    if disk.get("createOption", "FromImage").lower() == "attach":
        if not (disk.get("managedDisk") or {}).get("id"):
            raise errors.missing("osDisk.managedDisk.id")
        return {}, disk.get("osType") == "Windows"
    if not image:
        raise errors.missing("imageReference")
    if image.get("id"):
        return image, disk.get("osType") == "Windows"
    for name in ("publisher", "offer", "sku", "version"):
        if not image.get(name):
            raise errors.missing(f"imageReference.{name}")
    urn = ":".join(str(image[name]) for name in ("publisher", "offer", "sku"))
    if any(matches(pattern, urn) for pattern in MARKETPLACE):
        check_plan(cloud, body, urn)
    elif not any(matches(pattern, urn) for pattern in (*IMAGES, *cloud.settings["images"])) or any(
        matches(each, urn) for each in NO_IMAGES
    ):
        message = (
            f"The platform image '{urn}:{image['version']}' is not available. Verify that all fields in the storage"
            " profile are correct. For more details about storage profile information, please refer to"
            " https://aka.ms/storageprofile"
        )
        raise ArmError(404, "PlatformImageNotFound", message, "imageReference")
    return image, is_windows(image)


def check_plan(cloud, body, urn):
    plan = body.get("plan")
    publisher, offer, sku = urn.split(":")
    if not plan:
        message = (
            "Creating a virtual machine from Marketplace image or a custom image sourced from a Marketplace image"
            f" requires Plan information in the request. VM: '{urn}'."
        )
        raise ArmError(400, "VMMarketplaceInvalidInput", message)
    if (plan.get("publisher"), plan.get("product"), plan.get("name")) != (publisher, offer, sku):
        raise ArmError(
            400, "VMMarketplaceInvalidInput", f"The purchase plan information does not match the image '{urn}'."
        )
    if urn not in cloud.settings["accepted_terms"]:
        inner = {
            "code": "MarketplacePurchaseEligibilityFailed",
            "message": (
                "Marketplace purchase eligibilty check returned errors. See inner errors for details. Legal terms have"
                f" not been accepted for this item on this subscription: '{cloud.subscription}'. PublisherId:"
                f" {publisher}, OfferId: {offer}."
            ),
        }
        raise ArmError(
            400,
            "ResourcePurchaseValidationFailed",
            "User failed validation to purchase resources. See inner errors for details.",
            details=[inner],
        )


def check_profile(properties, image, windows):
    """Checks the computer's name, its user, and the data for its first start."""
    profile = properties.get("osProfile")
    if not image:
        return
    if not profile:
        raise errors.missing("osProfile")
    for name in ("computerName", "adminUsername"):
        if not profile.get(name):
            raise errors.missing(f"osProfile.{name}")
    check_computer_name(profile["computerName"], windows)
    if profile["adminUsername"].lower() in FORBIDDEN_USERS:
        raise invalid_parameter("adminUsername", "The Admin Username specified is not allowed.")
    if len(profile["adminUsername"]) > (20 if windows else 64):
        raise invalid_parameter("adminUsername", "The Admin Username specified is too long.")
    check_custom_data(profile.get("customData"))
    if windows and profile.get("linuxConfiguration"):
        raise invalid_parameter(
            "linuxConfiguration", "The property 'linuxConfiguration' is not valid because the 'osType' is 'Windows'."
        )
    check_access(profile, windows)


def check_computer_name(name, windows):
    if windows and (len(name) > 15 or name.isdigit() or re.search(r"[^\w-]", name)):
        message = (
            "Windows computer name cannot be more than 15 characters long, be entirely numeric, or contain the"
            " following characters: ` ~ ! @ # $ % ^ & * ( ) = + _ [ ] { } \\ | ; : . ' \" , < > / ?."
        )
        raise invalid_parameter("computerName", message)
    if not windows and (len(name) > 64 or not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name)):
        message = (
            "Linux host name cannot exceed 64 characters in length or contain the following characters: ` ~ ! @ # $ % ^"
            " & * ( ) = + _ [ ] { } \\ | ; : ' \" , < > / ?."
        )
        raise invalid_parameter("computerName", message)


def check_custom_data(data):
    if data is None:
        return
    try:
        length = len(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError, TypeError):
        length = None
    if length is None or length > 65535:
        raise invalid_parameter(
            "customData",
            "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.",
        )


def check_access(profile, windows):
    password, linux = profile.get("adminPassword"), profile.get("linuxConfiguration") or {}
    keys = (linux.get("ssh") or {}).get("publicKeys") or []
    if password is not None:
        shortest, longest = (8, 123) if windows else (6, 72)
        kinds = sum(bool(re.search(pattern, password)) for pattern in (r"[a-z]", r"[A-Z]", r"\d", r"[\W_]"))
        if not shortest <= len(password) <= longest or kinds < 3:
            message = (
                f"The supplied password must be between {shortest}-{longest} characters long and must satisfy at least"
                " 3 of password complexity requirements from the following:\r\n1) Contains an uppercase"
                " character\r\n2) Contains a lowercase character\r\n3) Contains a numeric digit\r\n4) Contains a"
                " special character\r\n5) Control characters are not allowed"
            )
            raise invalid_parameter("adminPassword", message)
    if windows:
        if password is None:
            raise errors.missing("adminPassword")
        return
    for key in keys:
        wanted = f"/home/{profile['adminUsername']}/.ssh/authorized_keys"
        if key.get("path") != wanted:
            message = (
                f"Destination path for SSH public keys is currently limited to its default value {wanted}  due to a"
                " known issue in Linux provisioning agent."
            )
            raise invalid_parameter("linuxConfiguration.ssh.publicKeys.path", message)
        if not re.match(r"(ssh-rsa|ssh-ed25519|ecdsa-sha2-\S+) [A-Za-z0-9+/=]{16,}", key.get("keyData") or ""):
            message = "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid."
            raise invalid_parameter("linuxConfiguration.ssh.publicKeys.keyData", message)
    if (linux.get("disablePasswordAuthentication") or password is None) and not keys:
        raise invalid_parameter(
            "linuxConfiguration",
            "Authentication using either SSH or by user name and password must be enabled in Linux profile.",
        )


def check_network(properties):
    """Returns the profile: cards that exist, or configurations that are to be made into cards."""
    profile = properties.get("networkProfile")
    if not profile:
        raise errors.missing("networkProfile")
    cards, configurations = profile.get("networkInterfaces") or [], profile.get("networkInterfaceConfigurations") or []
    if not cards and not configurations:
        raise errors.missing("networkProfile.networkInterfaces")
    if cards and configurations:
        raise invalid_parameter(
            "networkProfile",
            "Properties 'networkInterfaces' and 'networkInterfaceConfigurations' cannot be specified together.",
        )
    if configurations and profile.get("networkApiVersion") not in ("2020-11-01", "2022-11-01"):
        raise invalid_parameter(
            "networkApiVersion",
            "Parameter 'networkApiVersion' is required with 'networkInterfaceConfigurations'. Its values are 2020-11-01"
            " and 2022-11-01.",
        )
    for each in (*cards, *configurations):
        check_option(each.get("properties") or {}, "deleteOption")
    return cards, configurations


def check_option(holder, name):
    if holder.get(name) not in (None, "Delete", "Detach"):
        raise invalid_parameter(name, f"The value '{holder[name]}' of parameter '{name}' is invalid.")


def check_priority(properties):
    if properties.get("priority") not in (None, "Regular", "Low", "Spot"):
        raise invalid_parameter("priority", f"The value '{properties['priority']}' of parameter 'priority' is invalid.")
    spot = properties.get("priority") in ("Low", "Spot")
    if properties.get("evictionPolicy") and not spot:
        raise invalid_parameter("evictionPolicy", "Eviction policy can be set only on Azure Spot Virtual Machines.")
    return spot
