"""Control of the cloud by tests: `/_test/...`, without log-in."""

import copy
import json

from errors import ArmError
from settings import DEFAULTS
from web import Reply


def answer(app, request):
    """Answers a request of a test."""
    name = "/".join(request.segments[1:])
    action = ACTIONS.get((request.method, name))
    if action is None:
        known = ", ".join(f"{method} /_test/{each}" for method, each in ACTIONS)
        return Reply(
            404,
            {
                "error": {
                    "code": "NotFound",
                    "message": f"There is no {request.method} /_test/{name}; there are {known}",
                }
            },
        )
    try:
        body = json.loads(request.body or b"{}")
        with app.cloud.lock:
            app.cloud.settle()
            found = action(app, body, request)
        return Reply(200, {} if found is None else found)
    except ArmError as error:
        return Reply(error.status, error.body())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Reply(400, {"error": {"code": "BadControl", "message": f"{type(error).__name__}: {error}"}})


def resource(app, body):
    found = app.cloud.get(body["id"])
    if found is None:
        raise ArmError(404, "ResourceNotFound", f"There is no {body['id']}.")
    return found


def list_all(app, body, request):
    """Returns all groups and resources, also what no list shows yet."""
    cloud = app.cloud
    shown = []
    for each in cloud.all():
        entry = {"id": each.id, "type": each.type, "name": each.name, "state": each.state, "tags": each.tags or {}}
        for key in ("power", "size", "spot"):
            if key in each.more:
                entry[key] = each.more[key]
        shown.append(entry)
    return {"groups": [group.show() for group in cloud.groups.values()], "resources": shown}


def secrets(app, body, request):
    """Returns the body that created a resource, with what is never answered."""
    return resource(app, {"id": request.query["id"]}).body


def change_settings(app, body, request):
    unknown = set(body) - set(DEFAULTS)
    if unknown:
        raise ArmError(
            400,
            "UnknownSetting",
            f"There are no settings {', '.join(sorted(unknown))}; there are {', '.join(DEFAULTS)}",
        )
    for name, value in body.items():
        if isinstance(value, dict):
            app.cloud.settings[name] = app.cloud.settings[name] | value
        else:
            app.cloud.settings[name] = value
    return app.cloud.settings


def reset(app, body, request):
    app.cloud.clear()
    app.tokens.clear()
    app.faults.clear()
    app.record.clear()
    app.throttle.clear()


def state(app, body, request):
    """Changes what is told of a resource: power of a machine, state of a container group, provisioning state."""
    found = resource(app, body)
    found.more |= {name: body[name] for name in ("power", "state") if name in body}
    if "provisioning" in body:
        found.becomes(body["provisioning"])


def delete(app, body, request):
    from app import KINDS

    found = resource(app, body)
    KINDS[found.type.lower()].vanish(app.cloud, found)


def delete_group(app, body, request):
    from app import KINDS

    for each in [each for each in app.cloud.all() if each.group.lower() == body["name"].lower()]:
        KINDS[each.type.lower()].vanish(app.cloud, each)
    app.cloud.groups.pop(body["name"].lower(), None)


def evict(app, body, request):
    from machines import MACHINES

    MACHINES.evict(app.cloud, resource(app, body))


def container(app, body, request):
    from containers import CONTAINER_GROUPS

    CONTAINER_GROUPS.end_container(app.cloud, resource(app, body), body.get("container"), body["exit_code"])


def application(app, body, request):
    """Adds a service principal, or changes one: its secret, secrets that expired, and its federated identity."""
    known = app.tokens.applications.setdefault(
        body["client_id"].lower(), {"secret": None, "expired": [], "issuer": None, "subject": None}
    )
    known |= {name: value for name, value in body.items() if name != "client_id"}


def forget_requests(app, body, request):
    app.record.clear()


ACTIONS = {
    ("GET", ""): lambda app, body, request: {"subscription": app.cloud.subscription, "tenant": app.cloud.tenant},
    ("GET", "resources"): list_all,
    ("GET", "body"): secrets,
    ("GET", "settings"): lambda app, body, request: app.cloud.settings,
    ("POST", "settings"): change_settings,
    ("POST", "reset"): reset,
    ("POST", "advance"): lambda app, body, request: app.cloud.advance(float(body["seconds"])),
    ("GET", "requests"): lambda app, body, request: {
        "total": sum(app.record.counters.values()),
        "counters": dict(app.record.counters),
    },
    ("GET", "log"): lambda app, body, request: {"requests": copy.copy(list(app.record.last))},
    ("DELETE", "requests"): forget_requests,
    ("GET", "faults"): lambda app, body, request: {"faults": app.faults.waiting},
    ("POST", "faults"): lambda app, body, request: app.faults.add(body),
    ("DELETE", "faults"): lambda app, body, request: app.faults.clear(),
    ("POST", "capacity"): lambda app, body, request: app.cloud.capacity.append(
        {"times": 1} | body | {"code": body["code"]}
    ),
    ("DELETE", "capacity"): lambda app, body, request: app.cloud.capacity.clear(),
    ("POST", "locks"): lambda app, body, request: app.cloud.locks.append(body | {"scope": body["scope"]}),
    ("DELETE", "locks"): lambda app, body, request: app.cloud.locks.clear(),
    ("POST", "policies"): lambda app, body, request: app.cloud.policies.append(body),
    ("DELETE", "policies"): lambda app, body, request: app.cloud.policies.clear(),
    ("POST", "state"): state,
    ("POST", "evict"): evict,
    ("POST", "container"): container,
    ("POST", "delete"): delete,
    ("POST", "delete-group"): delete_group,
    ("POST", "providers"): lambda app, body, request: app.cloud.providers.update({body["name"].lower(): body["state"]}),
    ("POST", "applications"): application,
    ("POST", "expire-tokens"): lambda app, body, request: app.tokens.expire(),
}
