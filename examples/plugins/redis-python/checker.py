"""A health checker in Python: does a Redis server answer PING?

The user writes `health_check: {redis: {port: 6379}}`.
"""

import encodings.idna  # noqa: F401  Looked up by name when a socket connects; only modules imported here are in the component.
import json
import socket

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.checker import Observation, Verdict
from wit_world.exports.plugin import Description, Needs
from wit_world.imports.inputs import Target
from wit_world.imports.types import Detail, Fault, Reaction

# Seconds for one check. Less than the pause of the host between two of them.
TIMEOUT = 3.0

SECTION = {
    "type": "object",
    "properties": {"port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 6379}},
    "additionalProperties": False,
}


class Plugin(exports.Plugin):
    def describe(self) -> Description:
        return Description(
            name="redis",
            version="0.1.0",
            keyword="redis",
            summary="a Redis server answers PING",
            section_schema=json.dumps(SECTION),
            credentials_schema="",
            needs=Needs(network=["node-address"], interfaces=[]),
        )


class Checker(exports.Checker):
    def check(self, target: Target) -> Observation:
        section = json.loads(target.section())
        port = section.get("port", 6379)
        if not isinstance(port, int):
            # A permanent error, with its place in the user's section.
            detail = Detail(pointer="/port", message="a number is needed here")
            raise Err(Fault(Reaction.GIVE_UP, "redis.bad-port", "the port is not a number", None, [detail]))
        try:
            answer = ping(target.address(), port)
        except OSError as error:
            return Observation(Verdict.UNHEALTHY, f"port {port}: {error}", [])
        # A server that requires a password is running as well.
        if answer.startswith((b"+PONG", b"-NOAUTH")):
            return Observation(Verdict.HEALTHY, "it answers PING", [])
        return Observation(Verdict.UNHEALTHY, f"it answers {answer[:40]!r}", [])


def ping(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), timeout=TIMEOUT) as connection:
        connection.sendall(b"PING\r\n")
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < 1024:
            part = connection.recv(1024)
            if not part:
                break
            answer += part
        return answer
