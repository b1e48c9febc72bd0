"""Container groups: their life, and what their containers tell of themselves."""

import copy
import hashlib
import uuid

import container_bodies as bodies
import kinds
import networks
import operations
from cloud import Resource
from errors import ArmError
from kinds import Kind
from networks import SUBNETS
from web import Reply

# The version in the URLs of operations, whatever one asked with.
OPERATION_VERSION = "2018-06-01"
# Seconds for which the service tries to start a group.
PATIENCE = 1800
# What an update may not change.
FIXED = ("osType", "restartPolicy", "subnetIds", "priority", "sku")


def moment(cloud):
    return operations.timestamp(cloud.now())[:19] + "Z"


def quota_reached(location, limit, code="ContainerGroupQuotaReached"):
    message = (
        "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota 'StandardCores' exceeded in"
        f" region '{location}'. Limit: '{limit}', Usage: '{limit}' Requested: '1'."
    )
    return ArmError(409, code, message)


class ContainerGroups(Kind):
    """Container groups."""

    type = "Microsoft.ContainerInstance/containerGroups"

    # Reading

    def show(self, cloud, resource, request):
        shown = resource.show()
        properties = shown["properties"]
        failure = resource.more.get("failure_event")
        properties["instanceView"] = {"events": [failure] if failure else [], "state": resource.more["state"]}
        for container in properties["containers"]:
            view = resource.more["views"].get(container["name"])
            if view is not None:
                container["properties"]["instanceView"] = copy.deepcopy(view)
        return shown

    def list(self, cloud, request, group):
        # Lists leave out what is known of the moment.
        return kinds.page(cloud, request, cloud.listed(cloud.of(self.type, group)), Resource.show)

    def logs(self, cloud, request, id, container):
        """Answers what a container wrote."""
        group = self.find(cloud, id)
        if not any(each["name"] == container for each in group.properties["containers"]):
            raise ArmError(
                404,
                "ContainerNotFound",
                f"The container '{container}' in container group '{group.name}' was not found.",
            )
        view = group.more["views"].get(container)
        if view is None or view["currentState"]["state"] == "Waiting":
            raise ArmError(
                404,
                "ContainerNotFound",
                f"The container '{container}' in container group '{group.name}' has not started.",
            )
        lines = [f"{event['name']}: {event['message']}" for event in view["events"]]
        return Reply(200, {"content": "\n".join(lines[-int(request.query.get("tail") or 1000) :]) + "\n"})

    # Creating and changing

    def put(self, cloud, request, id):
        body, name = request.json(), id.rsplit("/", 1)[1]
        existing = cloud.get(id, self.type)
        kinds.check_name(self.type, name)
        kinds.check_conditions(request, existing)
        location = kinds.location_of(body, self.type)
        kinds.check_place(existing, location, id.split("/")[4])
        if "properties" not in body:
            raise ArmError(400, "InvalidRequestContent", f"The properties of container group '{name}' are missing.")
        properties, tags = copy.deepcopy(kinds.properties_of(body)), kinds.tags_of(body)
        bodies.check(cloud, request, properties, name)
        if existing is not None:
            self.check_change(cloud, existing, properties)
        failure = self.check_capacity(cloud, location, properties, name) if existing is None else None
        self.check_label(cloud, id, properties, location, name)
        self.hide(properties)
        zones = kinds.zones_of(body, location, self.type, name)
        identity = body.get("identity")
        if identity and "SystemAssigned" in identity.get("type", ""):
            identity = identity | {"principalId": str(uuid.uuid4()), "tenantId": cloud.tenant}
        given = (
            {"sku": "Standard", "restartPolicy": "Always"}
            | properties
            | {"initContainers": properties.get("initContainers", [])}
        )
        group = existing
        if group is None:
            group = cloud.add(Resource(id, self.type, location, given, tags, identity=identity, zones=zones))
            group.more |= {"views": {}, "subnets": [], "operation_events": lambda: self.all_events(group)}
        else:
            address = group.properties.get("ipAddress") or {}
            group.properties, group.tags = given, tags
            for part in ("ip", "fqdn"):
                if part in address and given.get("ipAddress"):
                    given["ipAddress"][part] = address[part]
        group.body = copy.deepcopy(body)
        group.more["subnets"] = [each["id"].lower() for each in properties.get("subnetIds") or []]
        for each in group.more["subnets"]:
            networks.hold_subnet(cloud, cloud.get(each, SUBNETS.type))
        self.address(cloud, group)
        return self.run(cloud, request, group, 201 if existing is None else 200, failure)

    def hide(self, properties):
        """Removes what is never answered."""
        for container in [*properties["containers"], *(properties.get("initContainers") or [])]:
            inner = container["properties"]
            inner.setdefault("ports", [])
            for variable in inner.setdefault("environmentVariables", []):
                variable.pop("secureValue", None)
        for credential in properties.get("imageRegistryCredentials") or []:
            credential.pop("password", None)

    def check_change(self, cloud, existing, properties):
        if existing.more.get("busy"):
            raise self.transitioning(existing)
        for name in FIXED:
            default = {"restartPolicy": "Always", "sku": "Standard", "priority": None, "subnetIds": None}.get(name)
            if properties.get(name, default) != existing.properties.get(name, default):
                message = (
                    f"The updates on container group '{existing.name}' are invalid. If you are going to update the os"
                    " type, restart policy, network profile, CPU, memory or GPU resources for a container group, you"
                    " must delete it first and then create a new one."
                )
                raise ArmError(400, "InvalidContainerGroupUpdate", message)
        old = [each["properties"]["resources"] for each in existing.properties["containers"]]
        if [each["properties"]["resources"] for each in properties["containers"]] != old:
            message = (
                f"The updates on container group '{existing.name}' are invalid. If you are going to update the os type,"
                " restart policy, network profile, CPU, memory or GPU resources for a container group, you must delete"
                " it first and then create a new one."
            )
            raise ArmError(400, "InvalidContainerGroupUpdate", message)

    def transitioning(self, group):
        return ArmError(
            409,
            "ContainerGroupTransitioning",
            f"The container group '{group.name}' is still transitioning, please retry later.",
        )

    def check_capacity(self, cloud, location, properties, name):
        limit = cloud.settings["container_groups"]
        if limit is not None and sum(each.location == location for each in cloud.of(self.type)) >= limit:
            raise quota_reached(location, limit)
        cpu = sum(each["properties"]["resources"]["requests"]["cpu"] for each in properties["containers"])
        memory = sum(each["properties"]["resources"]["requests"]["memoryInGB"] for each in properties["containers"])
        code = cloud.capacity_error(self.type, location, "", properties.get("priority") == "Spot")
        if code is None:
            return None
        if code != "ServiceUnavailable":
            raise quota_reached(location, 100, code)
        inside = " virtual network" if properties.get("subnetIds") else ""
        message = (
            f"The requested resource is not available in the location '{location}' at this moment. Please retry with a"
            f" different resource request or in another location. Resource requested: '{cpu}' CPU '{memory}' GB memory"
            f" '{properties['osType']}' OS{inside}"
        )
        if inside:
            # In a network, only the operation tells, and its code says nothing.
            return ArmError(409, "Failed", message)
        raise ArmError(409, code, message)

    def check_label(self, cloud, id, properties, location, name):
        label = (properties.get("ipAddress") or {}).get("dnsNameLabel")
        if not label or (properties["ipAddress"].get("autoGeneratedDomainNameLabelScope") or "Unsecure") != "Unsecure":
            return
        for other in cloud.of(self.type):
            theirs = other.properties.get("ipAddress") or {}
            if other.key != id.lower() and other.location == location and theirs.get("dnsNameLabel") == label:
                raise ArmError(
                    409,
                    "DnsNameLabelNotAvailable",
                    f"The DNS name label '{label}' in container group '{name}' not available. Try using a different"
                    " label.",
                )

    def address(self, cloud, group):
        address = group.properties.get("ipAddress")
        if address is None:
            return
        if "ip" not in address:
            if address["type"] == "Private":
                address["ip"] = networks.private_address(
                    cloud, cloud.get(group.more["subnets"][0], SUBNETS.type), address.get("ip")
                )
            else:
                address["ip"] = cloud.public_address()
        label = address.get("dnsNameLabel")
        if label:
            scope = address.setdefault("autoGeneratedDomainNameLabelScope", "Unsecure")
            part = "" if scope == "Unsecure" else "." + hashlib.sha256((scope + group.key).encode()).hexdigest()[:16]
            address["fqdn"] = f"{label}{part}.{group.location}.azurecontainer.io"

    # Running

    def run(self, cloud, request, group, status, failure):
        """Starts the operation at whose end the containers run, or the service gives up."""
        group.becomes("Pending" if status == 201 else "Updating")
        group.more |= {"state": "Pending", "busy": True, "failure_event": None}
        seconds = cloud.delay("PUT", self.type)
        images = [container["properties"]["image"] for container in group.properties["containers"]]
        if failure is None and any(bodies.MISSING in image for image in images):
            cloud.later(seconds, lambda: self.started(cloud, group))
            failure = ArmError(
                409,
                "Failed",
                f'Failed to pull image "{next(image for image in images if bodies.MISSING in image)}": not found',
            )
            seconds = PATIENCE

        def done(error):
            if error is None:
                return self.started(cloud, group)
            group.becomes("Failed")
            group.more |= {"state": "Failed", "busy": False}
            if not group.more["views"]:
                event = {"events": []}
                self.event(cloud, event, "InsufficientCapacity.", error.message, "Warning")
                group.more["failure_event"] = event["events"][0]

        operation = operations.start(
            cloud, request, group, self.provider, group.location, done, failure, seconds, OPERATION_VERSION
        )
        group.more["operation"] = operation
        return operations.accepted(cloud, request, operation, status, self.show(cloud, group, request))

    def started(self, cloud, group):
        if cloud.get(group.id, self.type) is not group:
            return
        waits = False
        for container in group.properties["containers"]:
            waits |= self.start_container(cloud, group, container)
        group.more |= {"state": "Pending" if waits else "Running", "busy": waits}
        group.becomes("Pending" if waits else "Succeeded")

    def event(self, cloud, view, name, message, type="Normal", count=1):
        now = moment(cloud)
        view["events"].append(
            {
                "count": count,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "name": name,
                "message": message,
                "type": type,
            }
        )

    def all_events(self, group):
        failure = group.more.get("failure_event")
        return [event for view in group.more["views"].values() for event in view["events"]] + (
            [failure] if failure else []
        )

    def start_container(self, cloud, group, container):
        """Starts a container; returns whether its image keeps it waiting."""
        name, image = container["name"], container["properties"]["image"]
        old = group.more["views"].get(name)
        view = {
            "restartCount": old["restartCount"] if old else 0,
            "currentState": {},
            "events": old["events"] if old else [],
        }
        if old and old["currentState"]["state"] != "Waiting":
            view["previousState"] = old["currentState"]
        group.more["views"][name] = view
        self.event(cloud, view, "Pulling", f'pulling image "{image}"')
        if bodies.MISSING in image:
            self.event(
                cloud,
                view,
                "Failed",
                f'Failed to pull image "{image}": rpc error: code = NotFound desc = failed to pull and unpack image'
                f' "{image}": not found',
                "Warning",
                2,
            )
            self.event(cloud, view, "BackOff", f'Back-off pulling image "{image}"', "Warning")
            view["currentState"] = {
                "state": "Waiting",
                "detailStatus": "ImagePullBackOff: " + f'Back-off pulling image "{image}"',
            }
            return True
        self.event(cloud, view, "Pulled", f'Successfully pulled image "{image}"')
        self.event(cloud, view, "Created", "Created container")
        self.event(cloud, view, "Started", "Started container")
        view["currentState"] = {"state": "Running", "startTime": moment(cloud), "detailStatus": ""}
        status = 1 if bodies.CRASHING in image else bodies.image_ends(image)
        if status is not None:
            cloud.later(cloud.settings["container_run_seconds"], lambda: self.ended(cloud, group, name, view, status))
        return False

    def end_container(self, cloud, group, name, status):
        """Ends a container, as if by itself."""
        for each in group.properties["containers"]:
            if name in (None, each["name"]):
                self.ended(cloud, group, each["name"], group.more["views"][each["name"]], status)

    def ended(self, cloud, group, name, view, status):
        if group.more["views"].get(name) is not view or view["currentState"].get("state") != "Running":
            return
        policy = group.properties["restartPolicy"]
        ended = {
            "state": "Terminated",
            "startTime": view["currentState"]["startTime"],
            "exitCode": status,
            "finishTime": moment(cloud),
            "detailStatus": "Completed" if status == 0 else "Error",
        }
        if policy == "Always" or (policy == "OnFailure" and status != 0):
            view["restartCount"] += 1
            view["previousState"] = ended
            self.event(cloud, view, "Killing", f"Killing container with id {name}.")
            if view["restartCount"] > 2:
                self.event(cloud, view, "BackOff", "Back-off restarting failed container", "Warning")
                view["currentState"] = {
                    "state": "Waiting",
                    "detailStatus": "CrashLoopBackOff: Back-off restarting failed",
                }
                return
            view["currentState"] = {"state": "Running", "startTime": moment(cloud), "detailStatus": ""}
            image = next(each["properties"]["image"] for each in group.properties["containers"] if each["name"] == name)
            if bodies.CRASHING in image or bodies.image_ends(image) is not None:
                cloud.later(
                    cloud.settings["container_run_seconds"], lambda: self.ended(cloud, group, name, view, status)
                )
            return
        view["currentState"] = ended
        states = [each["currentState"] for each in group.more["views"].values()]
        if all(state["state"] == "Terminated" for state in states):
            group.more["state"] = "Failed" if any(state.get("exitCode") for state in states) else "Succeeded"

    # Switching and deleting

    def post(self, cloud, request, id, action):
        group = self.find(cloud, id)
        if action not in ("start", "stop", "restart"):
            return super().post(cloud, request, id, action)
        if group.more.get("busy"):
            raise self.transitioning(group)
        if action == "stop":
            self.stop(cloud, group)
            return Reply(204)
        group.more["busy"] = True
        group.more["state"] = "Pending"

        def done(error):
            self.started(cloud, group)

        operation = operations.start(
            cloud, request, group, self.provider, group.location, done, version=OPERATION_VERSION
        )
        group.more["operation"] = operation
        return operations.accepted(cloud, request, operation, 204, has_operation=action == "restart")

    def stop(self, cloud, group):
        for name, view in list(group.more["views"].items()):
            stopped = {
                "state": "Terminated",
                "finishTime": moment(cloud),
                "detailStatus": "Container stopped per client request",
            }
            group.more["views"][name] = view | {"previousState": view["currentState"], "currentState": stopped}
        group.more["state"] = "Stopped"
        group.becomes("Succeeded")

    def delete(self, cloud, request, id):
        group = cloud.get(id, self.type)
        if group is None:
            return Reply(204)
        if group.more.get("operation"):
            group.more["operation"].cancel(cloud)
        shown = self.show(cloud, group, request)
        if not cloud.settings["container_delete_async"]:
            self.vanish(cloud, group)
            return Reply(200, shown)
        group.more["busy"] = True

        def done(error):
            group.more["busy"] = False
            if error is None and cloud.get(id, self.type) is group:
                self.vanish(cloud, group)

        operation = operations.start(
            cloud, request, group, self.provider, group.location, done, version=OPERATION_VERSION
        )
        return operations.accepted(cloud, request, operation, 202, shown, has_location=True)

    def vanish(self, cloud, group):
        cloud.remove(group)
        for each in group.more["subnets"]:
            subnet = cloud.get(each, SUBNETS.type)
            if subnet is not None:
                networks.release_address(subnet, (group.properties.get("ipAddress") or {}).get("ip"))
                networks.release_subnet(cloud, subnet)


CONTAINER_GROUPS = ContainerGroups()
