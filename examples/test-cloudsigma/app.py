"""The API: finds out what a request is about, and hands it on."""

import base64
import json
import traceback
import uuid

import control
import drives
import servers
import small_kinds
from cloud import Cloud
from errors import SigmaError, invalid, not_found
from injection import Faults, Record, apply
from settings import EMAIL, PASSWORD
from serving import Dropped, Reply, Request

LISTS = ("servers", "drives", "libdrives", "jobs", "tags", "keypairs", "ips", "vlans")
# Members that lists without `detail` show.
SHORT = {
    "servers": ("name", "owner", "resource_uri", "runtime", "status", "uuid"),
    "drives": ("owner", "resource_uri", "status", "uuid"),
    "ips": ("owner", "resource_uri", "server", "uuid"),
    "vlans": ("owner", "resource_uri", "uuid"),
}


class App:
    """The whole service, and the control of tests."""

    request_class = Request

    def __init__(self, account):
        self.cloud, self.faults, self.record = Cloud(account), Faults(), Record()

    def __call__(self, request):
        if request.segments[:1] == ["_test"]:
            return control.answer(self, request)
        below = request.segments[2:]
        names = {"pubkeys": "keypairs"}
        request.type = names.get(below[0], below[0]) if below else ""
        request.action = request.query.get("do") or ("list" if len(below) == 1 or below[1:] == ["detail"] else "")
        try:
            fault = self.faults.take(request)
            if fault:
                reply = apply(fault, request, self.handle, injected, fail_clone(self.cloud))
            else:
                reply = self.handle(request)
        except Dropped:
            self.record.add(request, None)
            raise
        self.record.add(request, reply.status)
        return reply

    def refuse(self, status, message):
        return Reply(status, SigmaError(status, "validation", message).body())

    def headers(self, request_headers):
        return {"X-REQUEST-ID": str(uuid.uuid4()), "Cache-Control": "no-cache"}

    def handle(self, request):
        with self.cloud.lock:
            self.cloud.settle()
            try:
                return self.route(request)
            except SigmaError as error:
                return Reply(error.status, error.body(), error.headers)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # A body that no check foresaw: the server says so, and goes on.
                traceback.print_exc()
                return Reply(400, invalid(None, f"{type(error).__name__}: {error}").body())

    def route(self, request):
        if request.segments[:2] != ["api", "2.0"]:
            return Reply(404, "<h1>Not Found</h1>")
        if not request.path.endswith("/"):
            # As libcloud relies on: each path ends with a slash.
            target = request.target.replace(request.path, request.path + "/", 1)
            return Reply(301, "", {"Location": target}) if request.method == "GET" else Reply(404, "<h1>Not Found</h1>")
        expected = base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {expected}":
            return Reply(401, SigmaError(401, "permission", "Authentication failed.").body(), {"WWW-Authenticate": "Basic"})
        below = request.segments[2:]
        if below == ["profile"] and request.method == "GET":
            profile = {"uuid": self.cloud.account, "email": EMAIL, "state": "REGULAR", "currency": "EUR", "meta": {}}
            return Reply(200, profile | {"clone_naming": "COUNTER", "first_name": "John", "last_name": "Doe", "language": "EN"})
        kind = request.type
        if kind not in LISTS:
            return Reply(404, "<h1>Not Found</h1>")
        if request.method in ("POST", "PUT", "DELETE") and self.cloud.settings["concurrency_times"] > 0:
            self.cloud.settings["concurrency_times"] -= 1
            raise SigmaError(409, "concurrency", "The resource is being changed by another request.")
        rest, method = below[1:], request.method
        if rest in ([], ["detail"]) and method == "GET":
            return self.list(request, kind, rest == ["detail"])
        if not rest and method == "POST":
            return self.create(request, kind)
        if rest[1:] == ["action"] and method == "POST":
            return self.act(request, kind, rest[0])
        if rest[1:] == ["servers"] and method == "GET" and kind == "tags":
            return self.list_tagged(rest[0])
        if len(rest) == 1:
            return self.single(request, kind, rest[0])
        raise SigmaError(405, "validation", "The method is not allowed.")

    def show(self, kind, each):
        shown = small_kinds.show_tag(self.cloud, each) if kind == "tags" else each
        return {name: value for name, value in shown.items() if not name.startswith("_")}

    def list(self, request, kind, is_detailed):
        query = request.query
        found = [self.show(kind, each) for each in self.cloud.listed(kind)]
        for name, fits in (
            ("name", lambda value, wanted: value == wanted),
            ("uuid", lambda value, wanted: value == wanted),
            ("name__contains", lambda value, wanted: wanted in value),
        ):
            if name in query:
                found = [each for each in found if fits(each.get(name.split("__")[0], ""), query[name])]
        try:
            limit, offset = int(query.get("limit", self.cloud.settings["page_size"])), int(query.get("offset", 0))
        except ValueError:
            raise invalid("limit", "Enter a whole number.") from None
        most = self.cloud.settings["max_page_size"]
        size = min(limit or len(found), most or len(found))
        page = found[offset : offset + size]
        members = query["fields"].split(",") if "fields" in query else None if is_detailed else SHORT.get(kind)
        if members:
            page = [{name: each[name] for name in members if name in each} for each in page]
        meta = {"limit": limit, "offset": offset, "total_count": len(found)}
        return Reply(200, {"meta": meta, "objects": page})

    def list_tagged(self, uuid):
        tagged = [each for each in self.cloud.listed("servers") if any(link["uuid"] == uuid for link in each["tags"])]
        page = [{name: each[name] for name in SHORT["servers"]} for each in tagged]
        return Reply(200, {"meta": {"limit": 20, "offset": 0, "total_count": len(page)}, "objects": page})

    def create(self, request, kind):
        makers = {
            "servers": servers.create,
            "drives": drives.create,
            "tags": small_kinds.create_tag,
            "keypairs": small_kinds.create_key,
        }
        if kind not in makers:
            raise SigmaError(405, "validation", "The method is not allowed.")
        body = read(request)
        # One alone may come without the list.
        documents = body["objects"] if "objects" in body else [body]
        made = [self.show(kind, makers[kind](self.cloud, document)) for document in documents]
        return Reply(202 if kind == "drives" else 201, {"objects": made})

    def act(self, request, kind, uuid):
        action = request.query.get("do", "")
        if kind == "servers":
            return Reply(202, servers.act(self.cloud, uuid, action))
        if kind in ("drives", "libdrives") and action == "clone":
            return Reply(202, {"objects": [self.show("drives", drives.clone(self.cloud, kind, uuid, read(request)))]})
        if kind == "drives" and action == "resize":
            return Reply(202, {"objects": [self.show("drives", drives.resize(self.cloud, uuid, read(request)))]})
        raise invalid("do", f"There is no action {action}.")

    def single(self, request, kind, uuid):
        cloud, method = self.cloud, request.method
        if method == "GET":
            found = drives.find(cloud, kind, uuid) if kind == "drives" else cloud.get(kind, uuid)
            if found is None:
                raise not_found(uuid)
            return Reply(200, self.show(kind, found))
        changes = {"servers": servers.update, "drives": drives.update, "tags": small_kinds.update_tag}
        if method == "PUT" and kind in changes:
            return Reply(200, self.show(kind, changes[kind](cloud, uuid, read(request))))
        if method == "DELETE" and kind == "keypairs":
            if cloud.kinds["keypairs"].pop(uuid, None) is None:
                raise not_found(uuid)
            return Reply(204)
        if method == "DELETE" and kind == "servers":
            servers.delete(cloud, uuid, request.query.get("recurse"))
            return Reply(204)
        if method == "DELETE" and kind in ("drives", "tags"):
            {"drives": drives.delete, "tags": small_kinds.delete_tag}[kind](cloud, uuid)
            return Reply(204)
        raise SigmaError(405, "validation", "The method is not allowed.")


def read(request):
    """Returns the body, an object; nothing is an empty one."""
    try:
        body = json.loads(request.body or b"{}")
    except ValueError as error:
        raise invalid(None, f"The body is not JSON: {error}") from None
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise invalid(None, "The body is not an object.")
    return body


def injected(fault):
    """Answers in the place of a request."""
    error = SigmaError(
        fault.get("status", 500), fault.get("code", "backend"), fault.get("message", "unknown error"), fault.get("point")
    )
    return Reply(error.status, fault["body"] if "body" in fault else error.body(), fault.get("headers"))


def fail_clone(cloud):
    """Returns what lets the clone of a request fail."""

    def fail(request, fault):
        with cloud.lock:
            cloud.settings["clone_ends"] = fault.get("code", "failed")

    return fail
