"""What most tests share: one service, real printers' software behind real agents, and a browser."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from harness import paths
from harness.agent import Agent
from harness.moonraker import Moonraker
from harness.octoprint import OctoPrint
from harness.printer import EchoPrinter
from harness.service import Service
from harness.tls import make_tls

OWNER = "owner@example.com"


def pytest_sessionstart(session):
    missing = [str(binary) for binary in (paths.SERVICE, paths.AGENT) if not binary.is_file()]
    if missing:
        pytest.exit(f"not built: {', '.join(missing)} (cargo build, or set SPOOLWAY_BIN_DIR)", returncode=2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the ends of the logs to the report of a failure."""
    report = yield
    if report.failed:
        for thing in getattr(item, "funcargs", {}).values():
            if isinstance(thing, (Service, Agent)) and thing.process:
                report.sections.append((f"{type(thing).__name__} {thing.log}", thing.process.tail()))
    return report


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("endtoend")


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where pictures and reports are kept for people."""
    paths.ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return paths.ARTIFACTS


def started(thing):
    """For a fixture: starts something, and ends it after the tests, also when its start failed."""
    try:
        thing.start()
        yield thing
    finally:
        thing.close()


@pytest.fixture(scope="session")
def service(workspace):
    """The service that all tests share which do not break it."""
    for one in started(Service(make_directory(workspace, "service"))):
        one.add_user(OWNER)
        yield one


@pytest.fixture(scope="session")
def tls_service(workspace):
    """A service that speaks TLS, HTTP/1.1 and HTTP/2."""
    directory = make_directory(workspace, "tls-service")
    for one in started(Service(directory, tls=make_tls(directory / "tls"))):
        one.add_user(OWNER)
        yield one


@pytest.fixture
def own_service(tmp_path):
    """A service that a test may break."""
    for one in started(Service(make_directory(tmp_path, "service"))):
        one.add_user(OWNER)
        yield one


@pytest.fixture(scope="session")
def octoprint(workspace):
    yield from started(OctoPrint(make_directory(workspace, "octoprint")).prepare())


@pytest.fixture(scope="session")
def moonraker(workspace):
    yield from started(Moonraker(make_directory(workspace, "moonraker")).prepare())


@pytest.fixture(scope="session")
def echo_printer(workspace):
    yield from started(EchoPrinter(make_directory(workspace, "echo-printer")))


@pytest.fixture(scope="session")
def octoprint_agent(service, octoprint, workspace):
    yield from started(Agent(workspace / "octoprint-agent", service.add_printer(OWNER, "OctoPrint"), octoprint.url))


@pytest.fixture(scope="session")
def moonraker_agent(service, moonraker, workspace):
    yield from started(Agent(workspace / "moonraker-agent", service.add_printer(OWNER, "Mainsail"), moonraker.url))


@pytest.fixture(scope="session")
def moonraker_direct_agent(service, moonraker, workspace):
    printer = service.add_printer(OWNER, "Moonraker")
    yield from started(Agent(workspace / "moonraker-direct-agent", printer, moonraker.direct_url))


@pytest.fixture(scope="session")
def echo_agent(service, echo_printer, workspace):
    yield from started(Agent(workspace / "echo-agent", service.add_printer(OWNER, "Echo"), echo_printer.url))


@pytest.fixture(scope="session")
def octoprint_app(octoprint_agent):
    return octoprint_agent.printer.app()


@pytest.fixture(scope="session")
def moonraker_app(moonraker_agent):
    return moonraker_agent.printer.app()


@pytest.fixture(scope="session")
def gcode() -> bytes:
    """Just over 6 MB of moves that no compression shortens to nothing."""
    numbers = random.Random(1)
    lines = [b"; spoolway end to end\nG28\n"]
    size = 0
    while size < 6_000_000:
        line = b"G1 X%.3f Y%.3f E%.5f F%d\n" % (
            numbers.uniform(0, 200),
            numbers.uniform(0, 200),
            numbers.uniform(0, 2),
            numbers.randrange(600, 9000),
        )
        lines.append(line)
        size += len(line)
    return b"".join(lines)


@pytest.fixture(scope="session")
def random_bytes():
    """A file of the given size, the same for the same size."""
    return lambda size: random.Random(size).randbytes(size)


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium without anything that asks the network."""
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield one
        one.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def make_directory(parent: Path, name: str) -> Path:
    directory = parent / name
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def curl(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(["curl", "-sS", "--max-time", "60", *map(str, arguments)], capture_output=True, timeout=90)
