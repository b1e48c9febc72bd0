"""Azure Resource Manager: finds out what a request is about, and hands it on."""

import re
import traceback

import control
import groups
import members
import operations
import tokens
from addresses import PUBLIC_ADDRESSES
from cloud import Cloud
from containers import CONTAINER_GROUPS
from disks import DISKS
from errors import ArmError, invalid_content
from faults import fail_operation, reply_of
from injection import Faults, Record, apply
from kinds import matches, place
from machines import MACHINES
from networks import SUBNETS, VIRTUAL_NETWORKS
from nics import INTERFACES
from security_groups import SECURITY_GROUPS
from settings import LOCATIONS
from throttle import Throttle
from tokens import Tokens
from web import Dropped, Reply, Request, headers, refuse

KINDS = {
    kind.type.lower(): kind
    for kind in (
        VIRTUAL_NETWORKS,
        SUBNETS,
        SECURITY_GROUPS,
        PUBLIC_ADDRESSES,
        INTERFACES,
        DISKS,
        MACHINES,
        CONTAINER_GROUPS,
    )
}
SUBSCRIPTION_PATTERN = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class Target:
    """Parts of the path of a request below a provider."""

    def __init__(self, request, segments, prefix):
        self.provider, rest = segments[0], segments[1:]
        pairs = len(rest) // 2 * 2
        self.names = rest[1:pairs:2]
        types = rest[0:pairs:2]
        # What is left over: the type that is to be listed, a view, or an action.
        self.last = rest[-1].lower() if len(rest) % 2 else ""
        self.is_list = self.last != "" and f"{self.provider}/{'/'.join([*types, self.last])}".lower() in KINDS
        if self.is_list or not types:
            types = [*types, rest[-1]] if self.last else types
        self.kind = KINDS.get(f"{self.provider}/{'/'.join(types)}".lower())
        self.type = self.kind.type if self.kind else f"{self.provider}/{'/'.join(types)}"
        written = [part for pair in zip(self.type.split("/")[1:], self.names) for part in pair]
        self.id = "/".join([prefix, "providers", self.type.split("/")[0], *written])


class App:
    """The whole service: log-in, management, and the control of tests."""

    request_class, refuse, headers = Request, staticmethod(refuse), staticmethod(headers)

    def __init__(self, subscription, tenant):
        self.cloud = Cloud(subscription, tenant)
        self.tokens, self.faults = Tokens(self.cloud), Faults()
        self.record = Record(is_secret=lambda request: "token" in request.type)
        self.throttle = Throttle(self.cloud)

    def __call__(self, request):
        if request.segments[:1] == ["_test"]:
            return control.answer(self, request)
        try:
            self.describe(request)
            fault = self.faults.take(request)
            reply = apply(fault, request, self.handle, reply_of, fail_operation) if fault else self.handle(request)
        except ArmError as error:
            reply = Reply(error.status, error.body(), error.headers)
        except Dropped:
            self.record.add(request, None)
            raise
        self.record.add(request, reply.status)
        return reply

    def describe(self, request):
        """Finds the type and the action of a request, for counters and faults."""
        segments = [segment.lower() for segment in request.segments]
        if segments[-1:] == ["token"]:
            request.type = "token"
        elif segments[:1] != ["subscriptions"]:
            request.type = "/".join(segments)
        elif "providers" in segments:
            below = request.segments[segments.index("providers") + 1 :]
            if len(below) == 5 and below[1].lower() == "locations":
                request.type, request.action = f"{below[0]}/operations", below[3].lower()
            elif len(below) > 1 and below[1].lower() not in ("register", "unregister"):
                target = Target(request, below, "")
                request.type = target.type
                request.action = "list" if target.is_list else target.last
            else:
                request.type = "providers"
        else:
            request.type = {2: "subscriptions", 3: segments[-1], 4: "resourceGroups"}.get(len(segments), segments[-1])
            if request.type == "resourcegroups":
                request.type, request.action = "resourceGroups", "list"

    def handle(self, request):
        with self.cloud.lock:
            self.cloud.settle()
            try:
                reply = self.route(request)
            except ArmError as error:
                reply = Reply(error.status, error.body(), error.headers)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # A body that no check foresaw: the server says so, and goes on.
                traceback.print_exc()
                reply = Reply(400, invalid_content(f"{type(error).__name__}: {error}").body())
            reply.headers = getattr(request, "limits", {}) | reply.headers
            return reply

    def route(self, request):
        segments = request.segments
        lower = [segment.lower() for segment in segments]
        if len(segments) >= 2 and lower[-2:] in (["v2.0", "token"], ["oauth2", "token"]):
            return self.tokens.answer(request)
        if lower[-2:] == [".well-known", "openid-configuration"]:
            return tokens.discovery(request)
        if lower[:1] != ["subscriptions"]:
            raise ArmError(
                404, "NotFound", f"No HTTP resource was found that matches the request URI '{request.path}'."
            )
        self.tokens.check(request)
        if not request.version:
            raise ArmError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if not re.fullmatch(r"20\d\d-\d\d-\d\d(-\w+)?", request.version):
            raise ArmError(400, "InvalidApiVersionParameter", f"The api-version '{request.version}' is invalid.")
        if len(segments) > 1:
            self.check_subscription(segments[1])
        request.limits = self.throttle.count(request)
        return self.route_subscription(request, segments[2:], lower[2:])

    def check_subscription(self, subscription):
        if not re.fullmatch(SUBSCRIPTION_PATTERN, subscription):
            raise ArmError(
                400,
                "InvalidSubscriptionId",
                f"The provided subscription identifier '{subscription}' is malformed or invalid.",
            )
        if subscription.lower() != self.cloud.subscription.lower():
            raise ArmError(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")

    def route_subscription(self, request, rest, lower):
        cloud = self.cloud
        if not rest:
            shown = groups.subscription(cloud)
            return Reply(
                200, shown if len(request.segments) == 2 else {"value": [shown], "count": {"type": "Total", "value": 1}}
            )
        if lower[0] == "resourcegroups":
            return self.route_group(request, rest, lower)
        if lower == ["locations"] and request.method == "GET":
            entries = [
                {"id": f"/subscriptions/{cloud.subscription}/locations/{name}", "name": name, "displayName": name}
                for name in LOCATIONS
            ]
            return Reply(200, {"value": entries})
        if lower == ["resources"] and request.method == "GET":
            return groups.resources(cloud, request)
        if lower[0] == "operationresults" and len(rest) == 2:
            return groups.operation_result(cloud, request, rest[1])
        if lower[0] == "providers" and len(rest) >= 2:
            if len(rest) == 2 or lower[2:] in (["register"], ["unregister"]):
                return groups.provider(cloud, request, rest[1], lower[2] if len(rest) == 3 else None)
            if len(rest) == 6 and lower[2] == "locations":
                self.check_allowed(request, f"{rest[1]}/locations/operations", request.path, "")
                return operations.answer(cloud, request, rest[5], rest[4])
            return self.route_provider(request, rest[1:], None)
        raise ArmError(404, "NotFound", f"No HTTP resource was found that matches the request URI '{request.path}'.")

    def route_group(self, request, rest, lower):
        if len(rest) == 1:
            return groups.list_groups(self.cloud, request)
        name = rest[1]
        if len(rest) == 2:
            scope = f"/subscriptions/{self.cloud.subscription}/resourceGroups/{name}"
            self.check_allowed(request, "Microsoft.Resources/subscriptions/resourceGroups", scope, "")
            return groups.answer(self.cloud, request, name, KINDS)
        group = groups.find(self.cloud, name)
        if lower[2:] == ["resources"]:
            return groups.resources(self.cloud, request, name)
        if lower[2] == "providers" and len(rest) >= 5:
            return self.route_provider(request, rest[3:], group)
        raise ArmError(404, "NotFound", f"No HTTP resource was found that matches the request URI '{request.path}'.")

    def route_provider(self, request, segments, group):
        cloud = self.cloud
        lower = [segment.lower() for segment in segments]
        if "providers" in lower[1:] and lower[-2:] == ["serviceassociationlinks", "default"]:
            below = Target(request, segments[: lower.index("providers")], group.id)
            return SUBNETS.delete_link(cloud, request, below.id)
        if lower[-1:] == ["logs"] and lower[-3:-2] == ["containers"] and group:
            above = Target(request, segments[:-3], group.id)
            return CONTAINER_GROUPS.logs(cloud, request, above.id, segments[-2])
        target = Target(request, segments, group.id if group else f"/subscriptions/{cloud.subscription}")
        if target.kind is None:
            type = "/".join(target.type.split("/")[1:])
            raise ArmError(
                400,
                "InvalidResourceType",
                f"The resource type '{type}' could not be found in the namespace '{target.provider}' for api version"
                f" '{request.version}'. The supported api-versions are ''.",
            )
        groups.check_registered(cloud, target.kind.provider)
        self.check_allowed(request, target.type, target.id, target.last if not target.is_list else "")
        return self.dispatch(request, target, group)

    def dispatch(self, request, target, group):
        cloud, kind, method = self.cloud, target.kind, request.method
        if target.is_list and method == "GET":
            if target.names:
                kind_above = VIRTUAL_NETWORKS.find(cloud, target.id)
                return kind.list_within(cloud, request, kind_above.id)
            return kind.list(cloud, request, group.name if group else None)
        if target.names and len(target.names) == len(target.type.split("/")) - 1 and group:
            if method == "GET" and target.last in ("", "instanceview"):
                return kind.get(cloud, request, target.id)
            if method == "POST" and target.last:
                return kind.post(cloud, request, target.id, target.last)
            if method == "PUT" and not target.last:
                members.check(target.type, request.version, request.json())
                self.check_policy(request, target)
                if group.state == "Deleting":
                    raise ArmError(
                        409,
                        "ResourceGroupBeingDeleted",
                        f"The resource group '{group.name}' is in deprovisioning state and cannot perform this"
                        " operation.",
                    )
                return kind.put(cloud, request, self.written(target))
            if method in ("PATCH", "DELETE") and not target.last:
                return getattr(kind, method.lower())(cloud, request, self.written(target))
        raise ArmError(405, "MethodNotAllowed", f"The requested resource does not support http method '{method}'.")

    def written(self, target):
        """Returns the id as it was first written, whatever the case of its letters now."""
        existing = self.cloud.get(target.id, target.kind.type)
        return existing.id if existing else target.id

    def check_allowed(self, request, type, scope, action):
        """Refuses what the caller has no right to, and what is locked."""
        verb = {"GET": "read", "HEAD": "read", "DELETE": "delete", "POST": f"{action}/action"}.get(
            request.method, "write"
        )
        wanted = f"{type}/{verb}"
        groups, parts = self.cloud.settings["only_groups"], scope.lower().split("/")
        is_outside = groups is not None and (len(parts) < 5 or parts[4] not in [group.lower() for group in groups])
        if is_outside or any(matches(pattern, wanted) for pattern in self.cloud.settings["denied"]):
            message = (
                "The client '00000000-0000-0000-0000-00000000c11e' with object id"
                f" '00000000-0000-0000-0000-00000000c11e' does not have authorization to perform action '{wanted}' over"
                f" scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your"
                " credentials."
            )
            raise ArmError(403, "AuthorizationFailed", message)
        if verb == "read":
            return
        for lock in self.cloud.locks:
            held, own = lock["scope"].lower().rstrip("/"), scope.lower()
            covers = own == held or own.startswith(held + "/") or (verb == "delete" and held.startswith(own + "/"))
            if covers and (verb == "delete" or lock.get("level") == "ReadOnly"):
                message = (
                    f"The scope '{scope}' cannot perform {'delete' if verb == 'delete' else 'write'} operation because"
                    f" following scope(s) are locked: '{lock['scope']}'. Please remove the lock and try again."
                )
                raise ArmError(409, "ScopeLocked", message)

    def check_policy(self, request, target):
        for policy in self.cloud.policies:
            body = request.json()
            if policy.get("type", target.type).lower() != target.type.lower():
                continue
            place_fits = "locations" not in policy or place(body.get("location") or "") not in policy["locations"]
            tag_fits = "tag" not in policy or policy["tag"] not in (body.get("tags") or {})
            if place_fits and tag_fits:
                name = policy.get("name", "test-policy")
                id = f"/subscriptions/{self.cloud.subscription}/providers/Microsoft.Authorization/policyAssignments/{name}"
                definition = id.replace("policyAssignments", "policyDefinitions")
                own = target.names[-1]
                message = (
                    f"Resource '{own}' was disallowed by policy. Policy identifiers:"
                    f' \'[{{"policyAssignment":{{"name":"{name}","id":"{id}"}},"policyDefinition":{{"name":"{name}","id":"{definition}"}}}}]\'.'
                )
                more = {
                    "additionalInfo": [
                        {
                            "type": "PolicyViolation",
                            "info": {
                                "policyAssignmentName": name,
                                "policyAssignmentId": id,
                                "policyDefinitionId": definition,
                                "policyDefinitionEffect": "Deny",
                            },
                        }
                    ]
                }
                raise ArmError(403, "RequestDisallowedByPolicy", message, own, more=more)
