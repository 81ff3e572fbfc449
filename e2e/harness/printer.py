"""A printer's software reduced to what a test has to see."""

import json
import urllib.request
from pathlib import Path

from . import paths
from .process import Process, accepts_connections, free_port, wait_for


class EchoPrinter:
    """Tells what reached it; see `servers/printer.py`."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "EchoPrinter":
        self.process = Process([paths.PYTHON, paths.SERVERS / "printer.py", self.port], self.directory / "printer.log")
        wait_for(lambda: accepts_connections(self.port), 20, "the echo printer")
        return self

    def uploads(self) -> list[dict]:
        """Every upload that began, and whether it came whole."""
        with urllib.request.urlopen(f"{self.url}/uploads", timeout=10) as response:
            return json.load(response)

    def close(self):
        if self.process:
            self.process.close()


class WebSocketEcho:
    """The `ws` package of Node as a printer that echoes messages."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.port = 0
        self.process: Process | None = None

    def start(self) -> "WebSocketEcho":
        self.process = Process(["node", paths.SERVERS / "echo.mjs", "serve", 0], self.directory / "echo.log")
        self.port = int(self.process.wait_line(r"^echo on (\d+)$")[1])
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self):
        if self.process:
            self.process.close()
