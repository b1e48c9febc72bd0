"""HTTP: requests are read, handed on, and answered over connections that stay open."""

import json
import socket
import ssl
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from errors import ArmError, invalid_content

MAX_BODY_BYTES = 4 * 1024 * 1024


class Reply:
    """An answer; `body` is JSON, or nothing."""

    def __init__(self, status, body=None, headers=None):
        self.status, self.body, self.headers = status, body, headers or {}


class Dropped(Exception):
    """The connection is to end without an answer."""


class Request:
    """A request, with names of query parameters in lower case."""

    def __init__(self, method, target, headers, body, base):
        self.method, self.target, self.headers, self.body, self.base = method, target, headers, body, base
        parts = urlsplit(target)
        self.path = parts.path
        self.segments = [unquote(segment) for segment in parts.path.split("/") if segment]
        self.query = {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}
        self.version = self.query.get("api-version", "")
        # The type and the action, once they are known; and the failure of the operation that this request starts.
        self.type, self.action, self.operation_fault = "", "", None

    def json(self):
        """Returns the body, an object."""
        try:
            body = json.loads(self.body or b"null")
        except ValueError as error:
            raise invalid_content(str(error).replace("'", '"')) from None
        if not isinstance(body, dict):
            raise ArmError(
                400, "InvalidRequestContent", "The request content is not valid and could not be deserialized."
            )
        # What a PUT leaves empty, it leaves out.
        return without_nulls(body) if self.method == "PUT" else body


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def handler(app, secure):
    """Returns the class that reads the requests of connections."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it, an answer in two packets waits for an acknowledgement.
        disable_nagle_algorithm = True
        wbufsize = 64 * 1024

        def handle_call(self):
            if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
                return self.answer(Reply(411, ArmError(411, "LengthRequired", "A Content-Length is required.").body()))
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY_BYTES:
                self.close_connection = True
                error = ArmError(413, "RequestContentTooLarge", "The size of the request content is too large.")
                return self.answer(Reply(413, error.body()))
            body = self.rfile.read(length)
            host = self.headers.get("Host") or "127.0.0.1"
            base = f"{'https' if secure else 'http'}://{host}"
            try:
                self.answer(app(Request(self.command, self.path, self.headers, body, base)))
            except Dropped:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = handle_call

        def answer(self, reply):
            text = b"" if reply.body is None else json.dumps(reply.body, separators=(",", ":")).encode()
            self.send_response(reply.status)
            headers = {
                "x-ms-request-id": str(uuid.uuid4()),
                "x-ms-correlation-request-id": str(uuid.uuid4()),
                "Cache-Control": "no-cache",
            } | reply.headers
            client = self.headers.get("x-ms-client-request-id")
            if client and self.headers.get("x-ms-return-client-request-id", "").lower() == "true":
                headers["x-ms-client-request-id"] = client
            if text:
                headers.setdefault("Content-Type", "application/json; charset=utf-8")
            if reply.status != 204:
                headers["Content-Length"] = str(len(text))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if reply.status != 204 and self.command != "HEAD":
                self.wfile.write(text)
            self.wfile.flush()

        def log_message(self, *_):
            pass

    return Handler


class Server(ThreadingHTTPServer):
    """A server of one application, which is called with a request and returns an answer."""

    # Number of connections that may wait to be accepted.
    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, host, port, app, certificate=None, key=None):
        super().__init__((host, port), handler(app, certificate is not None))
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request, client_address):
        # A client that went away is no error of the server.
        import sys

        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
