"""HTTP servers of one function, for tests: they answer, hand on, or hang up."""

from __future__ import annotations

import http.client
import socket
import struct
import sys
import threading
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: in place of an answer: the connection is reset
HANG_UP = object()


@contextmanager
def serving(answer):
    """An HTTP server of one function: handler -> (status, headers, body) or HANG_UP; until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        @cached_property
        def body(self):
            """What was sent, read when it is asked for."""
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def handle_any(self):
            self.__dict__.pop("body", None)  # of the connection's request before
            answered = answer(self)
            if answered is HANG_UP:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            _ = self.body  # what is left there would be taken for the next request
            status, headers, body = answered
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content-length" not in {name.lower() for name in headers}:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_POST = handle_any  # noqa: N815 - names of http.server

        def log_message(self, *_):
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def shutdown_request(self, request):
        request.close()  # without the polite end of writing, which would come before a reset

    def handle_error(self, *args):
        if not isinstance(sys.exception(), OSError):  # a client that gave up
            super().handle_error(*args)


def forward(handler, url):
    """Hand a request on to the server at `url` and take back its answer."""
    upstream = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        upstream.request(handler.command, handler.path, handler.body, dict(handler.headers))
        answer = upstream.getresponse()
        headers = {name: value for name, value in answer.getheaders() if name.lower() != "transfer-encoding"}
        return answer.status, headers, answer.read()
    finally:
        upstream.close()


def s3_error(status, code):
    """An answer of S3 that refuses."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return status, {"Content-Type": "application/xml"}, body
