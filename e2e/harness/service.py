"""The service under test, and its administration."""

import json
import re
import signal
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from . import paths
from .client import Target
from .process import Process, clean_environment
from .sockets import listens


class Service:
    """`spoolway serve` on a loopback port, which it keeps over restarts."""

    def __init__(self, directory: Path, tls=None, data: Path | None = None, log_filter: str = "info"):
        self.directory = directory
        self.data = data or directory / "data"
        # What else the process finds in its environment.
        self.environment: dict[str, str] = {}
        # A program that starts it in its own place, with limits.
        self.wrapper: list[str] = []
        self.log = directory / "service.log"
        self.tls = tls
        self.log_filter = log_filter
        self.port = 0
        self.process: Process | None = None
        self.metrics_url = ""

    def start(self) -> "Service":
        command = [*self.wrapper, paths.SERVICE, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", self.data]
        command += ["--metrics-listen", "127.0.0.1:0"]
        environment = {"SPOOLWAY_LOG": self.log_filter, "RUST_BACKTRACE": "1", **self.environment}
        if self.tls:
            environment |= {
                "SPOOLWAY_TLS__CERTIFICATE": str(self.tls.certificate),
                "SPOOLWAY_TLS__KEY": str(self.tls.key),
            }
        self.process = Process(command, self.log, cwd=self.directory, environment=environment)
        ready = self.process.wait_line(r"^spoolway is ready on (\S+) \(domain ([^)]+)\)$")
        self.url, self.domain = ready[1], ready[2]
        self.port = urlsplit(self.url).port
        # Agents dial by a name that every resolver knows.
        self.agents_origin = f"{urlsplit(self.url).scheme}://localhost:{self.port}"
        self.origin = f"{urlsplit(self.url).scheme}://{self.domain}"
        self.metrics_url = self.process.wait_line(r"^metrics on (\S+)$")[1]
        return self

    def restart(self) -> "Service":
        """Starts it again on the same port after it has ended."""
        assert not self.process.alive
        self.process.close()
        return self.start()

    def close(self):
        """Ends it. A panic that it caught, or that cost it a task, fails the test that caused it (T50, F7)."""
        if not self.process:
            return
        panics = 0.0
        try:
            if self.process.alive:
                # A test may have frozen it.
                self.process.signal(signal.SIGCONT)
                panics = self.metric("spoolway_panics_total", absent=0)
        except OSError:
            # It was about to end; a service that stays has to answer.
            assert not self.process.alive or self.is_ending(), f"no metrics\n{self.process.tail()}"
        finally:
            self.process.close()
        log = self.log.read_text(errors="replace")
        assert panics == 0 and " panicked at " not in log, f"the service panicked\n{log[-3000:]}"

    def is_ending(self) -> bool:
        """Whether it drains, and will end by itself."""
        return not listens(self.process.pid, self.port)

    def metrics(self) -> str:
        with urllib.request.urlopen(self.metrics_url, timeout=10) as response:
            return response.read().decode()

    def metric(self, name: str, absent: float | None = None) -> float:
        """The sum of a metric over its labels. One that was never counted is not on the page."""
        values = [
            float(line.rsplit(" ", 1)[1])
            for line in self.metrics().splitlines()
            if re.match(rf"{re.escape(name)}(\{{.*\}})? ", line)
        ]
        assert values or absent is not None, f"no metric is called {name}"
        return sum(values) if values else absent

    def admin(self, *arguments, stdin: str | None = None, check: bool = True, as_json: bool = True):
        """Runs `spoolway admin` and gives what it printed as JSON."""
        command = [paths.SERVICE, "admin", "--data", self.data, *(["--json"] if as_json else []), *arguments]
        done = subprocess.run(
            [str(part) for part in command],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=60,
            env=clean_environment(),
        )
        if not check:
            return done
        assert done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr}{done.stdout}"
        return json.loads(done.stdout) if as_json and done.stdout.strip() else done.stdout

    # What most tests need first.

    def add_user(self, email: str, **options) -> str:
        self.admin("user", "add", email, *flags(options))
        return email

    def add_printer(self, owner: str, name: str = "Printer") -> "Printer":
        made = self.admin("printer", "add", "--owner", owner, "--name", name)
        return Printer(self, made["printerId"], made["token"], name)

    def site(self, **options) -> Target:
        """The service's own pages."""
        return Target(self, self.domain, **options)

    def host(self, url: str, **options) -> Target:
        """One of the hosts of the service, such as an App Connection's."""
        return Target(self, urlsplit(url).netloc, **options)


class Printer:
    """A printer as the service knows it."""

    def __init__(self, service: Service, id: str, token: str, name: str):
        self.service, self.id, self.token, self.name = service, id, token, name

    def app_connection(self, app: str = "Test app", **options) -> dict:
        return self.service.admin("app-connection", "create", "--printer", self.id, "--app", app, *flags(options))

    def app(self, **options) -> Target:
        """A fresh App Connection, spoken to with its basic pair."""
        made = self.app_connection(**options)
        target = self.service.host(made["url"], basic=(made["authBasicHttpUser"], made["authBasicHttpPassword"]))
        target.connection = made
        return target

    def shared(self, password: str | None = None, **options) -> Target:
        """A fresh Shared Connection, spoken to without credentials."""
        arguments = ["shared-connection", "create", "--printer", self.id, *flags(options)]
        made = self.service.admin(*arguments, *(["--password-stdin"] if password else []), stdin=password)
        target = self.service.host(made["url"])
        target.connection = made
        return target


def flags(options: dict) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
