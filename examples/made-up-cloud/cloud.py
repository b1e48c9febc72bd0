#!/usr/bin/env python3
"""A small made-up cloud, to write a driver against: `cloud.py PORT [KEY]`. It stores nothing on disk.

    POST   /machines              {"instance", "infrastructure", "name", "size", "user_data"}
                                  one machine for each instance, also when repeated
    GET    /machines?instance=ID  the machine of this instance, or none
    GET    /machines?after=ID     the machines after this one, 100 at most; "next" is there when there are more
    DELETE /machines/ID
    GET    /                      {"cloud": its name, which no other cloud has}

Every answer names the cloud in its header `Cloud`.
A machine is {"id", "state": "starting" | "running", "address", "instance", "infrastructure"}. Every call needs
`Authorization: Bearer KEY` (the KEY is `open-sesame` by default). 401: wrong key. 404: no such thing. 422: no such size
(there are small, medium and large). 507: full.
"""

import json
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SIZES = ("small", "medium", "large")
PAGE = 100
ROOM = 5000
START_SECONDS = 0.3

KEY = sys.argv[2] if len(sys.argv) > 2 else "open-sesame"
CLOUD = str(uuid.uuid4())
lock = threading.Lock()
machines = {}
by_instance = {}
count = 0


def shown(machine):
    running = time.monotonic() - machine["began"] >= START_SECONDS
    number = int(machine["id"])
    return {
        "id": machine["id"],
        "state": "running" if running else "starting",
        "address": f"10.0.{number // 250 % 250}.{number % 250 + 1}" if running else None,
        "instance": machine["instance"],
        "infrastructure": machine["infrastructure"],
    }


class Cloud(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without it, an answer in two packets waits for an acknowledgement.
    disable_nagle_algorithm = True

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cloud", CLOUD)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def handle_call(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.answer(401, {"error": "wrong key"})
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/" and self.command == "GET":
            return self.answer(200, {"cloud": CLOUD})
        with lock:
            if url.path == "/machines" and self.command == "POST":
                return self.create(body)
            if url.path == "/machines" and self.command == "GET":
                return self.list(query)
            if url.path.startswith("/machines/") and self.command == "DELETE":
                return self.destroy(url.path.removeprefix("/machines/"))
        return self.answer(404, {"error": "not found"})

    do_GET = do_POST = do_DELETE = handle_call

    def create(self, body):
        global count
        try:
            request = json.loads(body)
            instance, infrastructure = str(request["instance"]), str(request["infrastructure"])
        except (ValueError, KeyError, TypeError):
            return self.answer(400, {"error": "a machine needs `instance` and `infrastructure`, in JSON"})
        if request.get("size") not in SIZES:
            return self.answer(422, {"error": f"unknown size {request.get('size')}; the sizes are {', '.join(SIZES)}"})
        if instance in by_instance:
            return self.answer(200, shown(by_instance[instance]))
        if len(machines) >= ROOM:
            return self.answer(507, {"error": "the cloud is full"})
        count += 1
        machine = {"id": f"{count:08}", "began": time.monotonic(), "instance": instance, "infrastructure": infrastructure}
        machines[machine["id"]] = by_instance[instance] = machine
        return self.answer(201, shown(machine))

    def list(self, query):
        if "instance" in query:
            found = by_instance.get(query["instance"])
            return self.answer(200, {"machines": [shown(found)] if found else []})
        # Ids grow, and a dictionary keeps the order.
        rest = [machine for machine in machines.values() if machine["id"] > query.get("after", "")]
        page = {"machines": [shown(machine) for machine in rest[:PAGE]]}
        if len(rest) > PAGE:
            page["next"] = rest[PAGE - 1]["id"]
        return self.answer(200, page)

    def destroy(self, number):
        machine = machines.pop(number, None)
        if machine is None:
            return self.answer(404, {"error": f"machine {number} not found"})
        del by_instance[machine["instance"]]
        return self.answer(200, {})

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if len(sys.argv) < 2 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    # Number of connections that may wait to be accepted.
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Cloud).serve_forever()
