"""A state machine of Azure for tests: `python3 test-azure PORT [--host H] [--subscription ID] [--tenant ID] [--tls CERT KEY]`.

It keeps nothing on disk, and needs nothing but Python. Port 0 takes a free one. README.md beside this file says what it
does and how a test controls it.
"""

import argparse
import sys

from app import App
from tokens import CLIENT, SECRET, TENANT
from web import Server

SUBSCRIPTION = "22222222-bbbb-4bbb-8bbb-000000000002"


def main():
    parser = argparse.ArgumentParser(prog="test-azure", description="A state machine of Azure for tests.")
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--subscription", default=SUBSCRIPTION)
    parser.add_argument("--tenant", default=TENANT)
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    options = parser.parse_args()
    server = Server(options.host, options.port, App(options.subscription, options.tenant), *(options.tls or ()))
    scheme = "https" if options.tls else "http"
    login = f"subscription {options.subscription}, tenant {options.tenant}, client {CLIENT}, secret {SECRET}"
    # In one piece: who started it may read no further than the first line.
    sys.stdout.write(f"{scheme}://{options.host}:{server.server_address[1]}\n{login}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
