"""A state machine of CloudSigma for tests: `python3 test-cloudsigma PORT [--host H] [--account ID] [--tls CERT KEY]`.

It keeps nothing on disk, and needs nothing but Python. Port 0 takes a free one. README.md beside this file says what it
does and how a test controls it.
"""

import argparse
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "test-common"))

from app import App  # noqa: E402
from serving import Server  # noqa: E402
from settings import ACCOUNT, EMAIL, LIBRARY_DRIVE, PASSWORD  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="test-cloudsigma", description="A state machine of CloudSigma for tests.")
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--account", default=ACCOUNT)
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    options = parser.parse_args()
    server = Server(options.host, options.port, App(options.account), *(options.tls or ()))
    scheme = "https" if options.tls else "http"
    login = f"account {options.account}, e-mail {EMAIL}, password {PASSWORD}, library drive {LIBRARY_DRIVE}"
    # In one piece: who started it may read no further than the first line.
    sys.stdout.write(f"{scheme}://{options.host}:{server.server_address[1]}\n{login}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
