"""The agent under test."""

from pathlib import Path

from . import paths
from .process import Process
from .service import Printer


class Agent:
    """`spoolway-agent run` for one printer; its identity survives a restart."""

    def __init__(self, directory: Path, printer: Printer, target: str | None, log_filter: str = "info", arguments=()):
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "agent.log"
        self.printer = printer
        self.target = target
        self.log_filter = log_filter
        self.arguments = list(arguments)
        self.enrolled = False
        # What else the process finds in its environment.
        self.environment: dict[str, str] = {}
        self.process: Process | None = None

    def start(self, wait: bool = True) -> "Agent":
        service = self.printer.service
        command = [paths.AGENT, "run", "--server", service.agents_origin, "--data", self.data]
        command += ["--printer", self.target] if self.target else ["--virtual"]
        if not self.enrolled:
            command += ["--token", self.printer.token]
        if service.tls:
            command += ["--ca", service.tls.authority]
        environment = {"SPOOLWAY_LOG": self.log_filter, "RUST_BACKTRACE": "1", **self.environment}
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = Process([*command, *self.arguments], self.log, cwd=self.directory, environment=environment)
        if wait:
            self.wait_connected()
        return self

    def wait_connected(self, after: int = 0, timeout: float = 60):
        """Waits for the line that the agent prints at each connection, from line number `after` on."""
        match = self.process.wait_line(r'^connected to \S+ as "(.*)"$', timeout=timeout, after=after)
        self.enrolled = True
        return match

    def restart(self, wait: bool = True) -> "Agent":
        assert not self.process.alive
        self.process.close()
        return self.start(wait)

    def close(self):
        if self.process:
            self.process.close()
