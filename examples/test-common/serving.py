"""HTTP for the state machines of clouds beside this folder: requests are read, handed on, and answered over connections that
stay open. An application is called with a request, of its `request_class`, and returns an answer; it has `refuse(status, message)`,
the answer to what is no request for it, and `headers(request_headers)`, those of every answer."""

import json
import socket
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_BODY_BYTES = 4 * 1024 * 1024


class Reply:
    """An answer; `body` is JSON, a text, or nothing."""

    def __init__(self, status, body=None, headers=None):
        self.status, self.body, self.headers = status, body, headers or {}

    def content(self):
        """Returns the bytes of the body and their type."""
        if self.body is None:
            return b"", None
        if isinstance(self.body, str):
            return self.body.encode(), "text/html; charset=utf-8"
        return json.dumps(self.body, separators=(",", ":")).encode(), "application/json; charset=utf-8"


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
        # The type and the action, once they are known.
        self.type, self.action = "", ""


def handler(app, secure):
    """Returns the class that reads the requests of connections."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it, an answer in two packets waits for an acknowledgement.
        disable_nagle_algorithm = True
        wbufsize = 64 * 1024

        def handle_call(self):
            if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
                return self.answer(app.refuse(411, "A Content-Length is required."))
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY_BYTES:
                self.close_connection = True
                return self.answer(app.refuse(413, "The size of the request content is too large."))
            body = self.rfile.read(length)
            host = self.headers.get("Host") or "127.0.0.1"
            base = f"{'https' if secure else 'http'}://{host}"
            try:
                self.answer(app(app.request_class(self.command, self.path, self.headers, body, base)))
            except Dropped:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = handle_call

        def answer(self, reply):
            text, kind = reply.content()
            self.send_response(reply.status)
            headers = app.headers(self.headers) | reply.headers
            if kind:
                headers.setdefault("Content-Type", kind)
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
    """A server of one application."""

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
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
