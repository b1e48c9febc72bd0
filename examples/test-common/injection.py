"""Faults that a test injects into a state machine, and the record of what was asked for."""

import collections
import re
import threading
import time

from serving import Dropped

MODES = ("answer", "lose", "cut", "stall", "operation")


class Faults:
    """Faults that wait for their requests; each is used up by `times` requests, after it let `after` pass."""

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = []

    def clear(self):
        with self.lock:
            self.waiting = []

    def add(self, fault):
        mode = fault.get("mode", "answer")
        if mode not in MODES:
            raise ValueError(f"There is no mode {mode}; the modes are {', '.join(MODES)}.")
        re.compile(fault.get("path", ""))
        with self.lock:
            self.waiting.append({"times": 1, "after": 0, "used": 0} | fault | {"mode": mode})

    def take(self, request):
        """Returns the fault that this request meets, or nothing."""
        with self.lock:
            for fault in self.waiting:
                if not self.fits(fault, request):
                    continue
                if fault["after"] > 0:
                    fault["after"] -= 1
                    continue
                if fault["times"] is None or fault["used"] < fault["times"]:
                    fault["used"] += 1
                    return fault
        return None

    @staticmethod
    def fits(fault, request):
        return (
            fault.get("method", request.method).upper() == request.method
            and fault.get("type", request.type).lower() == request.type.lower()
            and fault.get("action", request.action).lower() == request.action.lower()
            and re.search(fault.get("path", ""), request.target, re.I) is not None
        )


def apply(fault, request, handle, reply, fail):
    """Answers a request that meets a fault: by `reply(fault)` in its place (`answer`), after it but unheard (`lose`), not at
    all (`cut`), later (`stall`), or with an operation that fails (`operation`, which `fail(request, fault)` arranges)."""
    mode = fault["mode"]
    if mode == "cut":
        raise Dropped
    if mode == "stall":
        time.sleep(fault.get("seconds", 1))
        return handle(request)
    if mode == "lose":
        handle(request)
        raise Dropped
    if mode == "operation":
        fail(request, fault)
        return handle(request)
    return reply(fault)


class Record:
    """Counters of requests by method, type and action, and the last of them with what they sent."""

    def __init__(self, is_secret=lambda request: False):
        self.lock, self.is_secret = threading.Lock(), is_secret
        self.clear()

    def clear(self):
        self.counters = collections.Counter()
        self.last = collections.deque(maxlen=20000)

    def add(self, request, status):
        name = f"{request.method} {request.type}" + (f" {request.action}" if request.action else "")
        entry = {"method": request.method, "target": request.target, "type": request.type, "status": status}
        if request.body and not self.is_secret(request):
            entry["body"] = request.body.decode("utf-8", "replace")
        with self.lock:
            self.counters[name] += 1
            self.last.append(entry)
