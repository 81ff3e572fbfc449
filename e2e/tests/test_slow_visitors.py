"""Visitors who are slow on purpose, hundreds of them (T26, L5), as `slowhttptest` plays them."""

import os
import re
from contextlib import closing
from pathlib import Path

import pytest
from conftest import OWNER, make_directory

from harness.agent import Agent
from harness.printer import WebSocketEcho
from harness.process import Process, wait_for
from harness.service import Service

# The reader's limit is a minute: SPOOLWAY_SLOW_READERS=1 has it waited for.
WITH_READERS = os.environ.get("SPOOLWAY_SLOW_READERS") == "1"
CONNECTIONS = int(os.environ.get("SPOOLWAY_SLOW_CONNECTIONS", 500))
MODES = {
    # A header line every five seconds, and never the last.
    "headers": ["-H", "-i", "5", "-t", "GET"],
    # A few bytes of an upload every five seconds.
    "body": ["-B", "-i", "5", "-s", "8192", "-t", "POST"],
    # Thousands of overlapping ranges.
    "ranges": ["-R", "-t", "HEAD", "-a", "10", "-b", "3000"],
    # Downloads of which next to nothing is read.
    "readers": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-t", "GET"],
}
PATHS = {"headers": "/digest", "body": "/digest", "ranges": "/echo", "readers": "/bytes?length=10000000"}
# Longer than any limit of the service, so that it is the service that ends them.
GIVES_UP_AFTER = 150


class Attack:
    """One mode of `slowhttptest`, which ends by itself once none of its connections is open any more."""

    def __init__(self, directory: Path, mode: str, target):
        self.mode = mode
        command = ["slowhttptest", "-c", CONNECTIONS, "-r", "250", "-l", GIVES_UP_AFTER, "-p", "10", *MODES[mode]]
        # It asks the system for names, which knows none below `localhost`; a proxy it asks for them.
        command += ["-d", f"127.0.0.1:{target.port}", "-u", target.url + PATHS[mode]]
        self.process = Process(command, directory / f"{mode}.log", cwd=directory)

    def said(self) -> str:
        # It colours what it prints.
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(self.process.lines))


@pytest.mark.timeout(GIVES_UP_AFTER + 60)
def test_the_slow_go_and_others_do_not_notice(tmp_path, echo_printer):
    service = Service(make_directory(tmp_path, "service"))
    echo = WebSocketEcho(tmp_path)
    agents, attacks = [], []
    try:
        service.start()
        service.add_user(OWNER)
        for name, url in (
            ("files", echo_printer.url),
            ("messages", echo.start().url),
            ("attacked", echo_printer.url),
        ):
            agents.append(Agent(tmp_path / name, service.add_printer(OWNER, name), url).start())
        files, messages, _ = (agent.printer.app() for agent in agents)
        attacked = agents[2].printer.shared()
        assert files.get("/echo").status == 200
        with closing(messages.websocket("/")) as websocket:

            def goes_on() -> bool:
                """Whether another visitor is served, who needs new connections and has an old one."""
                assert files.get("/echo", timeout=10).status == 200
                websocket.send("hello")
                assert websocket.recv(timeout=10) == "hello"
                return True

            uploads = len(echo_printer.uploads())
            quiet = service.metric("spoolway_visitor_connections")
            for mode in MODES:
                if mode != "readers" or WITH_READERS:
                    attacks.append(Attack(tmp_path, mode, attacked))
            most = 0

            def under_way() -> bool:
                nonlocal most
                most = max(most, service.metric("spoolway_visitor_connections") - quiet)
                return goes_on() and most >= 2 * CONNECTIONS * 0.9

            wait_for(under_way, 30, "the attacks to be under way")
            # Bytes that were sent wait at the reader's own end for as long as it likes: there, only we can tell.
            leaving = [attack for attack in attacks if attack.mode != "readers"]
            wait_for(
                lambda: goes_on() and not any(attack.process.alive for attack in leaving),
                90,
                "the attackers to have lost all connections",
                interval=0.3,
            )
            for attack in leaving:
                assert "No open connections left" in attack.said(), f"{attack.mode}: {attack.said()[-1500:]}"
            wait_for(
                lambda: goes_on() and service.metric("spoolway_visitor_connections") <= quiet + 1,
                90 if WITH_READERS else 10,
                "all of them to be gone",
                interval=0.3,
            )
            assert goes_on()
            # The bodies did reach the printer, which could tell that they were cut. Whole ones are the tool's probes.
            cut = [upload for upload in echo_printer.uploads()[uploads:] if not upload["whole"]]
            assert len(cut) >= 0.9 * CONNECTIONS
            print(f"{most:.0f} connections at once")
        assert all(len([line for line in agent.process.lines if line.startswith("connected")]) == 1 for agent in agents)
    finally:
        for attack in attacks:
            attack.process.close()
        for thing in (*agents, echo, service):
            thing.close()
