"""A printer whose pages a test writes: what somebody might run who means no good."""

import http.server
import json
import threading
from dataclasses import dataclass, field


@dataclass
class Page:
    body: str
    kind: str = "text/html; charset=utf-8"
    headers: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200


class PagesPrinter:
    """Serves `pages` by path, greets an agent as OctoPrint does, and notes what it was asked for."""

    def __init__(self):
        self.pages: dict[str, Page] = {}
        self.asked: list[str] = []
        self.server: http.server.ThreadingHTTPServer | None = None

    def start(self) -> "PagesPrinter":
        printer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = self.path.split("?")[0]
                printer.asked.append(path)
                if path == "/api/version":
                    version = {"api": "0.1", "server": "1.11.8", "text": "OctoPrint 1.11.8"}
                    page = Page(json.dumps(version), "application/json")
                else:
                    page = printer.pages.get(path) or Page("not found", "text/plain", status=404)
                body = page.body.encode()
                self.send_response(page.status)
                for name, value in [("Content-Type", page.kind), ("Content-Length", str(len(body))), *page.headers]:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
