"""HAProxy, with a configuration of the caller's."""

import shutil
from pathlib import Path

from .process import Process, accepts_connections, wait_for

BINARY = shutil.which("haproxy") or "/usr/sbin/haproxy"


class Haproxy:
    def __init__(self, directory: Path, port: int, configuration: str):
        self.directory, self.port, self.configuration = directory, port, configuration
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Haproxy":
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / "haproxy.cfg"
        file.write_text(self.configuration)
        self.process = Process([BINARY, "-db", "-f", file], self.directory / "haproxy.log")
        wait_for(lambda: accepts_connections(self.port), 20, f"HAProxy\n{self.process.tail()}")
        return self

    def close(self):
        if self.process:
            self.process.close()
