"""Child processes that end with the tests, and waiting for conditions."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path


class TimeoutExpired(AssertionError):
    """A condition did not come true in time."""


def wait_for(condition, timeout: float, what: str, interval: float = 0.05):
    """Calls `condition` until it returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutExpired(f"waited {timeout} s for {what}")
        time.sleep(interval)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on. Something that has to be restarted on its port cannot let the kernel pick one."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Process:
    """A process in a process group of its own, whose standard output is read line by line and whose standard error goes
    to a file."""

    def __init__(self, command, log: Path, cwd=None, environment=None, stdin=subprocess.DEVNULL):
        self.log = log
        self.lines: list[str] = []
        self._changed = threading.Condition()
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as error_file:
            self.popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=error_file,
                cwd=cwd,
                env={**clean_environment(), **(environment or {})},
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.popen.stdout:
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def wait_line(self, pattern: str, timeout: float = 30, after: int = 0) -> re.Match:
        """The first line of standard output, from number `after` on, that matches."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self.lines[after:]:
                    if match := regex.search(line):
                        return match
                if not self._reader.is_alive() and not self.alive:
                    raise AssertionError(f"{self.describe()} ended before it printed /{pattern}/\n{self.tail()}")
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutExpired(f"{self.describe()} did not print /{pattern}/ in {timeout} s\n{self.tail()}")
                self._changed.wait(min(remaining, 0.5))

    def signal(self, number: int):
        if self.alive:
            os.killpg(self.pid, number)

    def kill(self):
        """Ends the whole process group without a word, as a power cut would."""
        self.signal(signal.SIGKILL)
        self.popen.wait(10)

    def terminate(self, timeout: float = 40) -> int:
        """Asks the process to end and gives its exit code."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
        return self.popen.wait(timeout)

    def close(self):
        """Ends it the gentle way, then the hard way."""
        if self.alive:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(3)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait(10)
        self._reader.join(5)
        self.popen.stdout.close()

    def tail(self, length: int = 3000) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(self.lines[-20:]) + "\n--- standard error\n" + text[-length:]

    def describe(self) -> str:
        return f"{self.popen.args[0]} (pid {self.pid})"


def clean_environment() -> dict[str, str]:
    """The environment without settings of ours, so that a developer's shell does not change what is tested."""
    return {
        key: value for key, value in os.environ.items() if not key.startswith(("SPOOLWAY_", "MOONRAKER_", "OCTOPRINT_"))
    }


def resident_bytes(pid: int) -> int:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no VmRSS")
