"""A full disk (R6) and a clock that jumps (R8): nothing ends, nothing is corrupted, and no doubt becomes a 603."""

import os
import sqlite3
import subprocess
import time

import pytest
from conftest import OWNER, make_directory

from harness.agent import Agent
from harness.client import Download
from harness.clock import Clock
from harness.printer import WebSocketEcho
from harness.process import wait_for
from harness.service import Service

LENGTH = 64 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path):
    directory = make_directory(tmp_path, "small-disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(directory)], capture_output=True)
    if mounted.returncode != 0:
        problem = f"cannot mount a file system here: {mounted.stderr.decode().strip()}"
        # Where it counts, a test that cannot run is a test that fails.
        pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory):
    """Leaves not a byte."""
    ballast = directory / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass
    return ballast


def test_a_full_disk_refuses_and_recovers(small_disk, echo_printer, tmp_path):
    service = Service(make_directory(tmp_path, "service"), data=small_disk / "data")
    agent = None
    try:
        service.start()
        service.add_user(OWNER)
        agent = Agent(tmp_path / "agent", service.add_printer(OWNER), echo_printer.url).start()
        known, second = agent.printer.app(), agent.printer.app()
        assert known.get("/echo").status == 200
        download = Download(known, f"/bytes?length={LENGTH}")
        assert download.read(1024 * 1024)

        ballast = fill(small_disk)
        refused = service.admin("user", "add", "late@example.com", check=False)
        assert refused.returncode != 0 and refused.stderr.strip()
        for target in (known, second):
            for _ in range(10):
                # Whether it can still be looked up is a matter of luck, that it exists is not.
                assert target.get("/echo").status in (200, 600)
        assert service.process.alive
        assert download.finish().whole

        ballast.unlink()
        wait_for(lambda: known.get("/echo").status == 200, 10, "the relay after the disk had room again")
        service.admin("user", "add", "late@example.com")
        assert {row["email"] for row in service.admin("user", "list")} == {OWNER, "late@example.com"}
        assert service.process.terminate() == 0
        with sqlite3.connect(service.data / "spoolway.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        service.restart()
        wait_for(lambda: known.get("/echo").status == 200, 15, "the printer after a restart")
    finally:
        if agent:
            agent.close()
        service.close()


@pytest.mark.parametrize("jumps", [["+400d", "+0"], ["-400d", "+0"], ["+1h", "-1h", "+0"]], ids="/".join)
def test_a_clock_that_jumps_ends_nothing(jumps, tmp_path, echo_printer):
    clock = Clock(tmp_path)
    service = Service(make_directory(tmp_path, "service"))
    service.environment = clock.environment
    sockets = WebSocketEcho(tmp_path)
    agents = []
    try:
        service.start()
        service.add_user(OWNER)
        sockets.start()
        for name, url in (("files", echo_printer.url), ("sockets", sockets.url)):
            agents.append(Agent(tmp_path / name, service.add_printer(OWNER, name), url).start())
        files, messages = (agent.printer for agent in agents)
        app = files.app()
        lasting, passing = files.app(), files.app(expires="1d")
        assert passing.get("/echo").status == 200
        websocket = messages.app().websocket("/")
        download = Download(app, f"/bytes?length={LENGTH}")
        assert download.read(1024 * 1024)
        connections = [len(agent.process.lines) for agent in agents]

        for jump in jumps:
            clock.set(jump)
            # The service looks at its clock at least when it is asked.
            expired = jump == "+400d"
            wait_for(lambda expired=expired: (passing.get("/echo").status == 604) == expired, 5, "the expiry to follow")
            assert lasting.get("/echo").status == 200
            websocket.send(jump)
            assert websocket.recv(timeout=10) == jump
            assert download.read(1024 * 1024)
            # Long enough for a heartbeat or an idle timer that believed the wall clock to go off.
            until = time.monotonic() + 3
            while time.monotonic() < until:
                assert app.get("/echo").status == 200
        assert download.finish().whole
        assert [len(agent.process.lines) for agent in agents] == connections, "an agent had to connect again"
        assert service.process.alive
        websocket.close()
    finally:
        for thing in (*agents, sockets, service):
            thing.close()


def test_an_agent_says_that_its_clock_is_wrong(tls_service, tmp_path):
    clock = Clock(tmp_path)
    clock.set("+40y")
    agent = Agent(tmp_path / "agent", tls_service.add_printer(OWNER), None)
    agent.environment = clock.environment
    try:
        agent.start(wait=False)
        wait_for(lambda: "clock" in agent.process.tail().lower(), 30, f"a word about the clock\n{agent.process.tail()}")
        clock.set("+0")
        agent.wait_connected()
    finally:
        agent.close()
