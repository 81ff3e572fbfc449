"""A printer's software reduced to what a test has to see: it tells what reached it, and serves what a test needs.

It greets an agent as OctoPrint does. usage: printer.py PORT
`/echo…` answers with method, path, headers and body as JSON; `/bytes?length=N` streams N bytes with a length,
`/chunks?length=N` without one; `/digest?name=NAME` takes a body and answers with its SHA-256; `/uploads` lists those
bodies and whether they came whole; `/slow` answers after ten minutes; anything else is 404.
"""

import hashlib
import http
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BLOCK = bytes(range(256)) * 256
UPLOADS: list[dict] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value, status=http.HTTPStatus.OK):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self) -> bytes:
        """The body; raises if it is not whole."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.read_exactly(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body
        return self.read_exactly(int(self.headers.get("Content-Length", 0)))

    def read_exactly(self, size: int) -> bytes:
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionError(f"{len(body)} of {size} bytes came")
        return body

    def handle_any(self):
        parts = urlsplit(self.path)
        arguments = parse_qs(parts.query)
        upload = {"name": arguments.get("name", [""])[0], "whole": False}
        if parts.path == "/digest":
            UPLOADS.append(upload)
        body = self.read_body()
        upload["whole"] = True
        if parts.path == "/api/version":
            self.answer({"api": "0.1", "server": "1.11.8", "text": "OctoPrint 1.11.8"})
        elif parts.path.startswith("/echo"):
            headers = [[name, value] for name, value in self.headers.items()]
            self.answer({"method": self.command, "path": self.path, "headers": headers, "body": body.decode("latin-1")})
        elif parts.path == "/digest":
            self.answer({"sha256": hashlib.sha256(body).hexdigest(), "length": len(body)})
        elif parts.path == "/uploads":
            self.answer(UPLOADS)
        elif parts.path in ("/bytes", "/chunks"):
            self.stream(int(arguments["length"][0]), parts.path == "/chunks")
        elif parts.path == "/slow":
            threading.Event().wait(600)
        else:
            self.answer({"error": "not found"}, http.HTTPStatus.NOT_FOUND)

    def stream(self, length: int, chunked: bool):
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(length))))
        self.end_headers()
        while length > 0:
            part = BLOCK[:length]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            length -= len(part)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_any


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
