"""The Autobahn test suite for WebSockets, in both of its roles."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .process import Process, accepts_connections, clean_environment, free_port, wait_for

ENVIRONMENT = paths.CACHE / "autobahn"
SUITE = ENVIRONMENT / "lib" / "python3.11" / "site-packages" / "autobahntestsuite"
# Groups 12 and 13 need compression, which is left out of what we agree on.
CONFORMANCE = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
LARGE_MESSAGES = ["9.*"]
AGENT = "spoolway"


@dataclass
class Report:
    """How each case went."""

    cases: dict[str, dict]

    @property
    def failed(self) -> dict[str, str]:
        return {
            name: f"{case['behavior']} / {case['behaviorClose']}"
            for name, case in self.cases.items()
            if case["behavior"] not in ("OK", "NON-STRICT", "INFORMATIONAL")
            or case["behaviorClose"] not in ("OK", "INFORMATIONAL")
        }

    @property
    def not_strict(self) -> set[str]:
        return {name for name, case in self.cases.items() if case["behavior"] == "NON-STRICT"}

    def summary(self) -> str:
        return f"{len(self.cases)} cases, {len(self.failed)} failed, {len(self.not_strict)} non-strict"


def command(directory: Path, specification: dict) -> list:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "spec.json"
    file.write_text(
        json.dumps(
            {"outdir": str(directory / "report"), "exclude-cases": [], "exclude-agent-cases": {}, **specification}
        )
    )
    return [ENVIRONMENT / "bin" / "python", paths.E2E / "autobahn3.py", SUITE, directory / "suite", file]


def report(directory: Path) -> Report:
    return Report(json.loads((directory / "report" / "index.json").read_text())[AGENT])


def examine_server(directory: Path, url: str, cases: list[str]) -> Report:
    """Plays the client against the server at a URL."""
    line = command(directory, {"servers": [{"url": url, "agent": AGENT}], "cases": cases})
    done = subprocess.run(
        list(map(str, line)), cwd=directory, capture_output=True, text=True, timeout=400, env=clean_environment()
    )
    assert (directory / "report" / "index.json").is_file(), done.stderr[-3000:] + done.stdout[-3000:]
    return report(directory)


class FuzzingServer:
    """Plays the server, as a printer's software would be."""

    def __init__(self, directory: Path, cases: list[str]):
        self.directory = directory
        self.cases = cases
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "FuzzingServer":
        shutil.rmtree(self.directory / "report", ignore_errors=True)
        line = command(self.directory, {"url": f"ws://127.0.0.1:{self.port}", "cases": self.cases})
        self.process = Process([*line, "fuzzingserver"], self.directory / "server.log", cwd=self.directory)
        wait_for(lambda: accepts_connections(self.port), 60, f"Autobahn's server\n{self.process.tail()}")
        return self

    def drive(self, url: str) -> Report:
        """Goes through all cases with Node's `ws`, which echoes, at a URL that leads here."""
        driver = Process(["node", paths.SERVERS / "echo.mjs", "drive", url, AGENT], self.directory / "driver.log")
        try:
            driver.wait_line("^done$", timeout=400)
        finally:
            driver.close()
        wait_for(lambda: (self.directory / "report" / "index.json").is_file(), 20, "Autobahn's report")
        return report(self.directory)

    def close(self):
        if self.process:
            self.process.close()


class Bridge:
    """Lets a client that sets no headers, and speaks HTTP/1.1 only, visit a connection; see `servers/bridge.py`."""

    def __init__(self, directory: Path, target, version: str):
        self.port = free_port()
        authority = [target.service.tls.authority] if target.service.tls else []
        authorization = target.authorization().get("Authorization", "")
        line = [
            paths.PYTHON,
            paths.SERVERS / "bridge.py",
            version,
            self.port,
            target.port,
            target.host,
            authorization,
            *authority,
        ]
        self.process = Process(line, directory / f"bridge-{version}.log")

    def start(self) -> "Bridge":
        wait_for(lambda: accepts_connections(self.port), 20, f"the bridge\n{self.process.tail()}")
        return self

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def close(self):
        self.process.close()
