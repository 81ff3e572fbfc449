"""Each metric that the service describes says something once it has something to say."""

import re
from contextlib import closing

from conftest import OWNER, make_directory

from harness import paths
from harness.agent import Agent
from harness.camera import Frames
from harness.client import Download, Upload
from harness.printer import WebSocketEcho
from harness.process import Process, wait_for
from harness.service import Service

# What no ordinary day moves.
NEVER = {"spoolway_panics_total": "counts bugs, and none is known"}
MAX_CONNECTIONS = 40
LENGTH = 64 * 1024 * 1024


def described() -> dict[str, str]:
    """Name and kind of each metric, as the source has them."""
    source = (paths.REPOSITORY / "crates" / "relay" / "src" / "metrics.rs").read_text()
    found = {name: kind for kind, name in re.findall(r'describe_(\w+)!\(\s*"(\w+)"', source)}
    assert len(found) > 10
    return found


def values(page: str) -> dict[str, float]:
    """The sum over all labels; of a histogram, how often it was observed."""
    sums: dict[str, float] = {}
    for line in page.splitlines():
        if match := re.fullmatch(r"(\w+?)(_bucket|_sum|_count)?(\{.*\})? (\S+)", line):
            name, part, _, number = match.groups()
            if part not in ("_bucket", "_sum"):
                sums[name] = sums.get(name, 0) + float(number)
    return sums


def test_the_manual_lists_them_all():
    manual = (paths.REPOSITORY / "docs" / "operating.md").read_text()
    listed = {
        name for line in manual.splitlines() if line.startswith("| `") for name in re.findall(r"`(spoolway_\w+)`", line)
    }
    assert listed == set(described())


def test_each_moves(tmp_path, echo_printer):
    service = Service(make_directory(tmp_path, "service"))
    service.environment["SPOOLWAY_MAX_CONNECTIONS"] = str(MAX_CONNECTIONS)
    echo = WebSocketEcho(tmp_path)
    agents, second = [], None
    seen: dict[str, float] = {}

    def look() -> dict[str, float]:
        now = values(service.metrics())
        for name, value in now.items():
            seen[name] = max(value, seen.get(name, 0))
        return now

    try:
        service.start()
        service.add_user(OWNER)
        start = look()
        assert all(value == 0 for value in start.values()), start
        echo.start()
        for name, url in (("files", echo_printer.url), ("messages", echo.url), ("virtual", None)):
            agents.append(Agent(tmp_path / name, service.add_printer(OWNER, name), url).start())
        files, messages, virtual = (agent.printer.app() for agent in agents)
        wait_for(lambda: look().get("spoolway_agents") == 3, 10, "three agents")

        # A request, an upload, an error, a WebSocket, and a camera that the agent is asked for.
        files.get("/echo").expect(200)
        content = b"x" * 100_000
        Upload(files, "/digest", "file", "x", content).send().response().expect(200)
        assert files.get("/echo", {"Authorization": "Basic eDp5"}).status == 606
        with closing(messages.websocket("/")) as websocket:
            websocket.send("hello")
            assert websocket.recv(timeout=10) == "hello"
        frames = Frames(virtual, "/oe-webcam-stream")
        assert frames.status == 200 and frames.next()
        frames.close()
        # An agent that comes with a token that was used.
        token = agents[0].printer.token
        second = Process(
            [
                paths.AGENT,
                "run",
                "--server",
                service.origin,
                "--virtual",
                "--token",
                token,
                "--data",
                tmp_path / "second",
            ],
            tmp_path / "second.log",
        )
        wait_for(lambda: look().get("spoolway_agent_refusals_total"), 20, "the refusal of an agent")
        # More connections than there may be.
        crowd = [service.site().socket() for _ in range(MAX_CONNECTIONS)]
        wait_for(
            lambda: look().get("spoolway_visitor_connections_refused_total"), 10, "a connection that is one too many"
        )
        for connection in crowd:
            connection.close()
        # Something that is cut.
        wait_for(lambda: look()["spoolway_visitor_connections"] < 10, 10, "the crowd to leave")
        download = Download(files, f"/bytes?length={LENGTH}")
        assert download.read(1024 * 1024)
        wait_for(lambda: look().get("spoolway_open_streams"), 10, "an open stream to be counted")
        agents[0].process.kill()
        assert not download.finish().whole
        wait_for(lambda: look().get("spoolway_broken_off_total"), 10, "what was cut to be counted")
        # A heartbeat passes every few seconds.
        wait_for(lambda: look().get("spoolway_tunnel_round_trip_seconds"), 30, "a heartbeat")

        wait_for(lambda: look()["spoolway_agents"] == 2, 30, "the agent's end to be counted")
        wait_for(lambda: look()["spoolway_open_streams"] == 0, 10, "all streams to have ended")
        assert seen["spoolway_bytes_from_visitors_total"] >= len(content)
        assert seen["spoolway_bytes_to_visitors_total"] >= download.received
        still = {name for name in described() if not seen.get(name)}
        assert still == set(NEVER), f"{still} stayed as they were"
    finally:
        for thing in (*agents, second, echo, service):
            if thing:
                thing.close()
