"""What becomes of the body of a virtual machine: its properties, interfaces and disks, and what is told of it later."""

import copy
import uuid

import disks
import kinds
import nics
import operations
from cloud import Resource
from errors import ArmError
from nics import INTERFACES

TYPE = "Microsoft.Compute/virtualMachines"


def at(value, path):
    for name in path.split("."):
        value = (value or {}).get(name)
    return value


def build(cloud, id, body, location, plan):
    """Creates a machine, and the cards that its body describes."""
    given = copy.deepcopy(kinds.properties_of(body))
    made = []
    try:
        for configuration in plan["configurations"]:
            made.append((nics.from_configuration(cloud, configuration, id, location, plan["zones"]), configuration))
    except ArmError:
        for card, _ in made:
            INTERFACES.vanish(cloud, card)
        raise
    properties = {"vmId": str(uuid.uuid4())} | given
    properties["hardwareProfile"]["vmSize"] = plan["size"]
    complete_storage(properties, plan)
    complete_profile(properties, plan)
    cards = [
        {
            "id": card.id,
            "properties": {
                "primary": at(configuration, "properties.primary") is not False,
                "deleteOption": at(configuration, "properties.deleteOption") or "Delete",
            },
        }
        for card, configuration in made
    ]
    properties["networkProfile"] = {"networkInterfaces": cards or copy.deepcopy(plan["cards"])}
    if plan["spot"]:
        properties.setdefault("evictionPolicy", "Deallocate")
    user_data = properties.pop("userData", None)
    identity = body.get("identity")
    if identity and "SystemAssigned" in identity.get("type", ""):
        identity = identity | {"principalId": str(uuid.uuid4()), "tenantId": cloud.tenant}
    top = {"zones": plan["zones"], "identity": identity, "plan": body.get("plan")}
    machine = cloud.add(Resource(id, TYPE, location, properties, plan["tags"], **top))
    machine.body = copy.deepcopy(body)
    machine.more |= {
        "size": plan["size"],
        "power": None,
        "spot": plan["spot"],
        "user_data": user_data,
        "windows": plan["windows"],
    }
    properties["timeCreated"] = operations.timestamp(cloud.now())
    for card in cards_of(cloud, machine):
        card.properties |= {
            "virtualMachine": {"id": id},
            "primary": True,
            "macAddress": "00-0D-3A-" + "-".join(uuid.uuid4().hex[n : n + 2].upper() for n in (0, 2, 4)),
        }
    return machine


def complete_storage(properties, plan):
    storage = properties["storageProfile"]
    image = storage.get("imageReference")
    if image and image.get("version") == "latest":
        image["exactVersion"] = "22.04.202611100"
    disk = storage.setdefault("osDisk", {"createOption": "FromImage"})
    disk |= {"osType": "Windows" if plan["windows"] else "Linux", "name": plan["disk"]}
    disk.setdefault("caching", "ReadWrite")
    disk.setdefault("managedDisk", {}).setdefault("storageAccountType", "Premium_LRS")
    disk.setdefault("deleteOption", "Detach")
    disk.setdefault("diskSizeGB", 127 if plan["windows"] else 30)
    for number, data in enumerate(storage.setdefault("dataDisks", [])):
        data.setdefault("name", f"{plan['disk'].split('_OsDisk_')[0]}_disk{number + 2}_{uuid.uuid4().hex}")
        data.setdefault("deleteOption", "Detach")
        data.setdefault("managedDisk", {}).setdefault("storageAccountType", "Premium_LRS")


def complete_profile(properties, plan):
    profile = properties.get("osProfile")
    if profile is None:
        return
    for secret in ("adminPassword", "customData"):
        profile.pop(secret, None)
    profile |= {"secrets": [], "allowExtensionOperations": True, "requireGuestProvisionSignal": True}
    if plan["windows"]:
        windows = profile.setdefault("windowsConfiguration", {})
        profile["windowsConfiguration"] = {
            "provisionVMAgent": True,
            "enableAutomaticUpdates": True,
            "patchSettings": {"patchMode": "AutomaticByOS"},
        } | windows
    else:
        linux = profile.setdefault("linuxConfiguration", {})
        profile["linuxConfiguration"] = {
            "disablePasswordAuthentication": False,
            "provisionVMAgent": True,
            "patchSettings": {"patchMode": "ImageDefault"},
        } | linux


def make_disks(cloud, machine, plan):
    storage = machine.properties["storageProfile"]
    base = machine.id.split("/providers/")[0] + f"/providers/{disks.DISKS.type}/"
    for disk in (storage["osDisk"], *storage["dataDisks"]):
        if "id" in disk["managedDisk"]:
            continue
        id = base + disk["name"]
        disk["managedDisk"]["id"] = id
        given = {
            "creationData": {"createOption": disk.get("createOption", "FromImage")},
            "diskSizeGB": disk.get("diskSizeGB", 30),
        }
        if "osType" in disk:
            given["osType"] = disk["osType"]
        sku = {"name": disk["managedDisk"]["storageAccountType"]}
        # The tags of a machine are not those of its disks.
        disks.make(cloud, id, machine.location, given, None, sku, plan["zones"], machine.id)


def cards_of(cloud, machine):
    found = (
        cloud.get(card["id"], INTERFACES.type) for card in machine.properties["networkProfile"]["networkInterfaces"]
    )
    return [card for card in found if card is not None]


def instance_view(cloud, machine):
    """Returns what is known of the machine at this moment."""
    state, failed = machine.state.lower(), machine.more.get("failed")
    provisioning = {
        "code": f"ProvisioningState/{state}",
        "level": "Info",
        "displayStatus": "Provisioning " + ("succeeded" if state == "succeeded" else state),
        "time": operations.timestamp(cloud.now()),
    }
    if state == "failed" and failed is not None:
        provisioning |= {
            "code": f"ProvisioningState/failed/{failed.code}",
            "level": "Error",
            "displayStatus": "Provisioning failed",
            "message": failed.message,
        }
    statuses = [provisioning]
    power = machine.more["power"]
    if power:
        statuses.append({"code": f"PowerState/{power}", "level": "Info", "displayStatus": f"VM {power}"})
    view = {"statuses": statuses, "hyperVGeneration": "V2"}
    disk = machine.properties["storageProfile"]["osDisk"]
    if "id" in disk["managedDisk"]:
        view["disks"] = [
            {
                "name": disk["name"],
                "statuses": [
                    {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}
                ],
            }
        ]
    if power == "running":
        view |= {
            "computerName": (machine.properties.get("osProfile") or {}).get("computerName"),
            "osName": "ubuntu",
            "osVersion": "22.04",
        }
        view["vmAgent"] = {
            "vmAgentVersion": "2.11.1.4",
            "statuses": [
                {
                    "code": "ProvisioningState/succeeded",
                    "level": "Info",
                    "displayStatus": "Ready",
                    "message": "Guest Agent is running",
                }
            ],
        }
    return view
