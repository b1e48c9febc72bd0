"""Control of the server by a test, under `/_test/`. It needs no log-in, and is never counted or broken."""

import copy
import json

import servers
from errors import SigmaError, not_found
from serving import Reply
from settings import DEFAULTS


def answer(app, request):
    name = "/".join(request.segments[1:])
    action = ACTIONS.get((request.method, name))
    if action is None:
        known = ", ".join(sorted(f"{method} /_test/{path}" for method, path in ACTIONS))
        return Reply(404, {"error": f"There is no {request.method} /_test/{name}; there are {known}"})
    try:
        body = json.loads(request.body or b"{}")
        with app.cloud.lock:
            app.cloud.settle()
            found = action(app, body)
        return Reply(200, {} if found is None else found)
    except SigmaError as error:
        return Reply(error.status, error.body())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Reply(400, {"error": f"{type(error).__name__}: {error}"})


def list_all(app, body):
    """Returns all servers and drives, also what no list shows yet."""
    return {kind: [app.show(kind, each) for each in app.cloud.kinds[kind].values()] for kind in ("servers", "drives", "tags", "keypairs")}


def change_settings(app, body):
    unknown = set(body) - set(DEFAULTS)
    if unknown:
        raise ValueError(f"There are no settings {', '.join(sorted(unknown))}; there are {', '.join(DEFAULTS)}")
    app.cloud.settings |= body
    return app.cloud.settings


def reset(app, body):
    app.cloud.clear()
    app.faults.clear()
    app.record.clear()


def state(app, body):
    """Changes the status of a server or a drive behind one's back."""
    for kind in ("servers", "drives"):
        found = app.cloud.get(kind, body["id"])
        if found is not None:
            found["status"] = body["status"]
            if kind == "servers" and body["status"] == "stopped":
                servers.stopped(found)
            return
    raise not_found(body["id"])


def delete(app, body):
    """Removes a server, whose drives stay, or a drive."""
    if app.cloud.kinds["drives"].pop(body["id"], None) is not None:
        return
    server = servers.find(app.cloud, body["id"])
    servers.mount(app.cloud, server, [])
    del app.cloud.kinds["servers"][body["id"]]


ACTIONS = {
    ("GET", ""): lambda app, body: {"account": app.cloud.account},
    ("GET", "resources"): list_all,
    ("GET", "settings"): lambda app, body: app.cloud.settings,
    ("POST", "settings"): change_settings,
    ("POST", "reset"): reset,
    ("POST", "advance"): lambda app, body: app.cloud.advance(float(body["seconds"])),
    ("GET", "requests"): lambda app, body: {
        "total": sum(app.record.counters.values()),
        "counters": dict(app.record.counters),
    },
    ("GET", "log"): lambda app, body: {"requests": copy.copy(list(app.record.last))},
    ("DELETE", "requests"): lambda app, body: app.record.clear(),
    ("GET", "faults"): lambda app, body: {"faults": app.faults.waiting},
    ("POST", "faults"): lambda app, body: app.faults.add(body),
    ("DELETE", "faults"): lambda app, body: app.faults.clear(),
    ("POST", "state"): state,
    ("POST", "delete"): delete,
}
