"""Too few file descriptors, and too little memory (T35): the service lives, goes on with what it has, and recovers."""

import hashlib
import re
import resource
import socket
from contextlib import closing
from pathlib import Path

import pytest
from conftest import OWNER, make_directory

from harness.agent import Agent
from harness.client import Download
from harness.printer import WebSocketEcho
from harness.process import resident_bytes, wait_for
from harness.service import Service

DESCRIPTORS = 256
# More than there are descriptors, but no more than wait to be accepted.
CROWD = 300
LENGTH = 64 * 1024 * 1024
EXPECTED = hashlib.sha256(bytes(range(256)) * (LENGTH // 256)).hexdigest()


class Rig:
    """A service, and two agents: one for files, one for messages."""

    def __init__(self, directory, echo_printer, wrapper=()):
        self.service = Service(make_directory(directory, "service"))
        self.service.wrapper = list(wrapper)
        self.sockets = WebSocketEcho(directory)
        self.directory, self.echo_printer = directory, echo_printer
        self.agents: list[Agent] = []

    def __enter__(self) -> "Rig":
        try:
            self.service.start()
            self.service.add_user(OWNER)
            for name, url in (("files", self.echo_printer.url), ("messages", self.sockets.start().url)):
                agent = Agent(self.directory / name, self.service.add_printer(OWNER, name), url)
                self.agents.append(agent)
                agent.start()
            self.files, self.messages = (agent.printer.app() for agent in self.agents)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for thing in (*self.agents, self.sockets, self.service):
            thing.close()

    @property
    def pid(self) -> int:
        return self.service.process.pid

    def answers(self) -> bool:
        try:
            return self.files.get("/echo", timeout=10).status == 200
        except OSError:
            return False


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize("counted", [True, False], ids=["its own limit", "the system's limit"])
def test_descriptors_run_out(tmp_path, echo_printer, counted):
    with Rig(tmp_path, echo_printer, ["prlimit", f"--nofile={DESCRIPTORS}"] if counted else []) as rig:
        if not counted:
            # Its own limit is a part of the one that it starts with; others may take more than their part.
            resource.prlimit(rig.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        limit = Path(f"/proc/{rig.pid}/limits").read_text()
        assert re.search(rf"Max open files\s+{DESCRIPTORS}\s", limit), "the limit is not in force"
        download = Download(rig.files, f"/bytes?length={LENGTH}")
        assert download.read(1024 * 1024)
        before = descriptors(rig.pid)
        crowd = []
        with closing(rig.messages.websocket("/")) as websocket:
            try:
                crowd += [socket.create_connection(("127.0.0.1", rig.service.port), 10) for _ in range(CROWD)]
                if counted:
                    wait_for(
                        lambda: rig.service.metric("spoolway_visitor_connections_refused_total", absent=0) > 0,
                        10,
                        "connections over the limit to be refused",
                    )
                    assert "cannot accept" not in rig.service.log.read_text()
                else:
                    wait_for(
                        lambda: "cannot accept a connection" in rig.service.log.read_text(),
                        10,
                        "the descriptors to run out",
                    )
                    assert descriptors(rig.pid) >= DESCRIPTORS - 2
                # Who is inside stays inside.
                websocket.send("still there")
                assert websocket.recv(timeout=10) == "still there"
                assert download.read(8 * 1024 * 1024)
                assert rig.service.process.alive
            finally:
                for connection in crowd:
                    connection.close()
            wait_for(rig.answers, 20, "an answer once there is room")
            websocket.send("after it")
            assert websocket.recv(timeout=10) == "after it"
        assert download.finish().whole and download.sha256 == EXPECTED
        wait_for(lambda: descriptors(rig.pid) <= before, 10, "the descriptors to be given back")
        assert all(
            len([line for line in agent.process.lines if line.startswith("connected")]) == 1 for agent in rig.agents
        )


def test_a_crowd_is_never_told_that_a_connection_is_gone(tmp_path, echo_printer):
    """While descriptors come and go, an answer may fail, but no app may be told to forget what it has (R7)."""
    with Rig(tmp_path, echo_printer) as rig:
        resource.prlimit(rig.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        seen = {}
        # Idle ones fill the table, so that what a request needs may be missing at any point of it.
        crowd = [socket.create_connection(("127.0.0.1", rig.service.port), 10) for _ in range(CROWD)]
        stranger = rig.messages.anonymous()
        for number, connection in enumerate(crowd):
            connection.close()
            if number % 10 == 0:
                for target in (rig.files, stranger):
                    try:
                        status = target.get("/echo", timeout=1).status
                    except OSError:
                        status = "no answer"
                    # Without credentials 606 is right, and it is the only permanent code that is.
                    assert status in {200 if target is rig.files else 606, 600, 601, 602, "no answer"}
                    seen[status] = seen.get(status, 0) + 1
        print(seen)
        assert seen[200] and seen[606]
        wait_for(rig.answers, 20, "an answer once there is room")


def test_memory_is_bounded(tmp_path, echo_printer):
    """Fifty who read nothing, of files larger than all that may be taken (L4, L9)."""
    with Rig(tmp_path, echo_printer) as rig:
        assert rig.answers()
        status = Path(f"/proc/{rig.pid}/status").read_text()
        taken = int(re.search(r"VmSize:\s+(\d+) kB", status)[1]) * 1024
        # What it has, and half of what the fifty would need at a mebibyte and more for each.
        bound = taken + 256 * 1024 * 1024
        resource.prlimit(rig.pid, resource.RLIMIT_AS, (bound, bound))
        before = resident_bytes(rig.pid)
        slow = []
        try:
            for _ in range(50):
                slow.append(Download(rig.files, f"/bytes?length={LENGTH}"))
                assert slow[-1].status == 200
            for one in slow:
                assert one.read(64 * 1024)
            with closing(rig.messages.websocket("/")) as websocket:
                for _ in range(3):
                    websocket.send(b"x" * 8_000_000)
                    assert len(websocket.recv(timeout=20)) == 8_000_000
                    assert rig.answers()
            grown = resident_bytes(rig.pid) - before
            print(f"grown by {grown / 1048576:.1f} MiB")
            assert grown < 128 * 1024 * 1024
            # Another's transfer is whole.
            download = Download(rig.files, f"/bytes?length={LENGTH}").finish()
            assert download.whole and download.sha256 == EXPECTED
        finally:
            for one in slow:
                one.connection.close()
        assert rig.service.process.alive and rig.answers()
