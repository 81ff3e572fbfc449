"""Each party killed in the middle of each kind of traffic: the right code, nothing cut in silence, and back soon."""

import hashlib
import http.client
import os
import random
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from conftest import OWNER, make_directory
from websockets.exceptions import ConnectionClosed

from harness.agent import Agent
from harness.camera import Camera, Frames
from harness.client import Download, Upload, close_code, query
from harness.printer import WebSocketEcho
from harness.process import accepts_connections, wait_for
from harness.service import Service
from harness.sockets import local_ports
from harness.traffic import DOWNLOAD_BYTES, UNDERWAY

# What the visitor of each kind of traffic may see when that party dies.
EXPECTED = {
    ("agent", "download"): {"reset"},
    ("agent", "upload"): {"601"},
    ("agent", "websocket"): {4601},
    ("agent", "camera"): {"reset"},
    ("service", "download"): {"reset"},
    ("service", "upload"): {"reset"},
    ("service", "websocket"): {1006},
    ("service", "camera"): {"reset"},
    ("software", "download"): {"reset"},
    ("software", "upload"): {"602"},
    ("software", "websocket"): {4602},
    ("software", "camera"): {"reset"},
}


class Rig:
    """A service and an agent of their own in front of a printer's software."""

    def __init__(self, directory, software):
        self.software = software
        self.service = Service(make_directory(directory, "service")).start()
        self.service.add_user(OWNER)
        self.agent = Agent(directory / "agent", self.service.add_printer(OWNER), software.url).start()
        self.target = self.agent.printer.app()
        self.probe = "/login/" if software.software == "octoprint" else "/server/info"

    def answers(self) -> bool:
        try:
            return self.target.get(self.probe, timeout=10).status == 200
        except OSError:
            return False

    def kill(self, victim: str):
        {
            "agent": lambda: self.agent.process,
            "service": lambda: self.service.process,
            "software": lambda: self.software,
        }[victim]().kill()

    def revive(self):
        """Starts whatever a test before this one left dead."""
        if not self.software.process.alive:
            self.software.restart()
        for part in (self.service, self.agent):
            if not part.process.alive:
                part.restart()
        wait_for(self.answers, 60, "the printer")

    def restart(self, victim: str):
        {"agent": self.agent, "service": self.service, "software": self.software}[victim].restart()

    def close(self):
        self.agent.close()
        self.service.close()


@pytest.fixture(scope="module", params=["octoprint", "moonraker"])
def rig(request, tmp_path_factory):
    one = Rig(tmp_path_factory.mktemp(f"kill-{request.param}"), request.getfixturevalue(request.param))
    yield one
    one.close()


@pytest.mark.parametrize("traffic", ["download", "upload", "websocket", "camera"])
@pytest.mark.parametrize("victim", ["agent", "service", "software"])
def test_killed_in_the_middle(rig, victim, traffic, random_bytes, gcode):
    rig.revive()
    content = random_bytes(DOWNLOAD_BYTES) if traffic == "download" else gcode
    underway = UNDERWAY[traffic](rig.target, rig.software, content)
    agent_lines = len(rig.agent.process.lines)

    killed = time.monotonic()
    rig.kill(victim)
    assert underway.outcome() in EXPECTED[victim, traffic]
    noticed = time.monotonic() - killed
    assert noticed < 5

    # What a new request is told meanwhile.
    if victim == "service":
        assert not accepts_connections(rig.service.port)
    else:
        code = "601" if victim == "agent" else "602"
        answer = rig.target.get(rig.probe)
        assert (str(answer.status), answer.error) == (code, code)
        assert answer.headers["Retry-After"] == ("15" if victim == "agent" else "5")
        refused = rig.target.handshake(
            "/sockjs/1/2/websocket" if rig.software.software == "octoprint" else "/websocket"
        )
        assert refused.error == code

    restarted = time.monotonic()
    rig.restart(victim)
    if victim == "service":
        # The ready line has come; the agent finds its way back by itself.
        restarted = time.monotonic()
        rig.agent.wait_connected(after=agent_lines, timeout=15)
    wait_for(rig.answers, 15, f"the printer to be back after the {victim} was")
    back = time.monotonic() - restarted
    print(f"{victim} killed in {traffic}: noticed after {noticed:.2f} s, back {back:.2f} s after its start")
    assert back < 15

    if traffic == "upload":
        # A file that was cut is not kept as if it were whole.
        folder = rig.software.uploads if rig.software.software == "octoprint" else rig.software.gcodes
        assert not (folder / "cut.gcode").exists()


# SPOOLWAY_KILL_POSITIONS sets how many of the 256 blocks a fault comes at, SPOOLWAY_KILL_SEED which.
SEED = int(os.environ.get("SPOOLWAY_KILL_SEED", random.randrange(1 << 32)))
COUNT = int(os.environ.get("SPOOLWAY_KILL_POSITIONS", 16))
BLOCK = 64 * 1024
TRANSFER = 16 * 1024 * 1024
# One from each part of the transfer, so that whatever was drawn has early ones and late ones.
PARTS = [(part * 256 // COUNT, (part + 1) * 256 // COUNT) for part in range(COUNT)]
POSITIONS = [random.Random(SEED + first).randrange(first, after) for first, after in PARTS]
# A camera takes its time, and each position costs a restart.
FEWER = POSITIONS[::2]
many_restarts = pytest.mark.timeout(120 + 6 * COUNT)


@contextmanager
def lasting(directory, software):
    """A service and an agent of their own in front of something that answers."""
    service = Service(make_directory(directory, "service")).start()
    agent = None
    try:
        service.add_user(OWNER)
        agent = Agent(directory / "agent", service.add_printer(OWNER), software.url).start()
        yield service, agent, agent.printer.app()
    finally:
        if agent:
            agent.close()
        service.close()


@pytest.fixture(scope="module")
def block_rig(tmp_path_factory, echo_printer):
    with lasting(tmp_path_factory.mktemp("blocks"), echo_printer) as rig:
        yield rig


@pytest.fixture(scope="module")
def message_rig(tmp_path_factory):
    directory = tmp_path_factory.mktemp("messages")
    echo = WebSocketEcho(directory)
    try:
        with lasting(directory, echo.start()) as rig:
            yield rig
    finally:
        echo.close()


@pytest.fixture(scope="module")
def camera_rig(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pictures")
    camera = Camera(directory)
    try:
        with lasting(directory, camera.start()) as rig:
            yield rig
    finally:
        camera.close()


@many_restarts
@pytest.mark.parametrize("victim", ["agent", "service"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_download_is_whole_or_visibly_broken_wherever_it_was_cut(block_rig, victim, chunked):
    service, agent, target = block_rig
    print(f"SPOOLWAY_KILL_SEED={SEED}, blocks {POSITIONS}")
    path = f"/{'chunks' if chunked else 'bytes'}?length={TRANSFER}"
    expected = hashlib.sha256(bytes(range(256)) * (TRANSFER // 256)).hexdigest()
    broken = 0
    for position in POSITIONS:
        recover(service, agent, target)
        download = Download(target, path)
        assert download.status == 200
        assert position == 0 or download.read(position * BLOCK)
        (agent if victim == "agent" else service).process.kill()
        download.finish()
        assert not download.whole or download.sha256 == expected, (
            f"block {position}: cut in silence at {download.received}"
        )
        broken += not download.whole
    print(f"{broken} of {len(POSITIONS)} broke")
    # What already was in flight may make the last ones whole, but not many.
    assert broken >= len(POSITIONS) // 2
    recover(service, agent, target)


@many_restarts
@pytest.mark.parametrize("victim", ["agent", "service"])
def test_an_upload_is_whole_or_visibly_broken_wherever_it_was_cut(block_rig, victim, echo_printer, random_bytes):
    service, agent, target = block_rig
    print(f"SPOOLWAY_KILL_SEED={SEED}, blocks {POSITIONS}")
    content = random_bytes(TRANSFER)
    for position in POSITIONS:
        recover(service, agent, target)
        name = f"{victim}-{position}"
        upload = Upload(target, f"/digest?{query(name=name)}", "file", "block", content).send(position * BLOCK + 1)
        (agent if victim == "agent" else service).process.kill()
        answer = upload.outcome()
        if victim == "service":
            assert answer is None
        else:
            assert answer is not None and answer.error == "601", f"block {position}: {answer}"
    recover(service, agent, target)
    # A request may die before it reached the printer; what reached it was cut, and the printer could tell.
    wait_for(
        lambda: not [u for u in echo_printer.uploads() if u["name"].startswith(victim) and u["whole"]],
        10,
        "no whole upload",
    )


@many_restarts
@pytest.mark.parametrize("victim", ["agent", "service"])
def test_a_websocket_says_so_wherever_it_was_cut(message_rig, victim):
    """Messages of a block's size, echoed: what came is what was sent, without a gap, and its end is no good end."""
    service, agent, target = message_rig
    print(f"SPOOLWAY_KILL_SEED={SEED}, blocks {POSITIONS}")
    for position in POSITIONS:
        recover(service, agent, target)
        websocket = target.websocket("/")
        came = 0
        for _ in range(position):
            websocket.send(message(came))
            assert websocket.recv(timeout=20) == message(came)
            came += 1
        # More is on its way, both ways, when the end comes.
        under_way = threading.Thread(target=send_on, args=(websocket, came), daemon=True)
        under_way.start()
        (agent if victim == "agent" else service).process.kill()
        code, _ = last_messages(websocket, came)
        assert code == (4601 if victim == "agent" else 1006), f"block {position}"
        under_way.join(10)
    recover(service, agent, target)


def message(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BLOCK // 8)


def send_on(websocket, number: int):
    try:
        for further in range(number, number + 32):
            websocket.send(message(further))
    except (ConnectionClosed, OSError):
        pass


def last_messages(websocket, came: int) -> tuple[int, str]:
    """Reads to the end, which may come behind more messages, but none of them out of place or cut."""
    try:
        while True:
            assert websocket.recv(timeout=20) == message(came)
            came += 1
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


@many_restarts
@pytest.mark.parametrize("victim", ["agent", "service"])
def test_a_cameras_stream_breaks_wherever_it_was_cut(camera_rig, victim):
    """Apps freeze on the last picture when a stream ends in order, and open it again when it breaks."""
    service, agent, target = camera_rig
    print(f"SPOOLWAY_KILL_SEED={SEED}, blocks {FEWER}")
    for position in FEWER:
        recover(service, agent, target)
        frames = Frames(target)
        # A picture is about a third of a block; the rest of the position is a place within the next one.
        for number in range(position // 10):
            assert int(frames.next()[0]["x-frame"]) == number
        while len(frames.buffer) < position * 64 % 16_000:
            frames._fill()
        (agent if victim == "agent" else service).process.kill()
        number = position // 10
        # An `EOFError` would be an end in order.
        with pytest.raises((OSError, http.client.HTTPException)):
            while True:
                headers, picture = frames.next()
                assert int(headers["x-frame"]) == number and picture.endswith(b"\xff\xd9")
                number += 1
        frames.close()
    recover(service, agent, target)


def recover(service, agent, target):
    if not service.process.alive:
        service.restart()
        # An agent that has lost many short links one after the other waits longer each time, as it should.
        agent.process.kill()
    if not agent.process.alive:
        agent.restart()

    def answers():
        try:
            # Whatever the software says; while the way to it is not there, the service speaks.
            return target.get("/echo?action=snapshot", timeout=10).error is None
        except OSError:
            return False

    wait_for(answers, 15, "the printer to be back")


@pytest.mark.timeout(240)
def test_a_frozen_peer_is_noticed(octoprint, tmp_path):
    """An agent, and a service, that stop without closing anything, as when the power goes or a route breaks."""
    frozen_agent = Rig(make_directory(tmp_path, "frozen-agent"), octoprint)
    frozen_service = Rig(make_directory(tmp_path, "frozen-service"), octoprint)
    try:
        websocket = frozen_agent.target.websocket("/sockjs/222/frozen/websocket")
        tunnel_ports = local_ports(frozen_service.agent.process.pid, frozen_service.service.port)
        assert tunnel_ports
        frozen_agent.agent.process.signal(signal.SIGSTOP)
        frozen_service.service.process.signal(signal.SIGSTOP)
        begun = time.monotonic()

        assert close_code(websocket)[0] == 4601
        by_service = time.monotonic() - begun
        wait_for(
            lambda: not local_ports(frozen_service.agent.process.pid, frozen_service.service.port) & tunnel_ports,
            60,
            "the agent to give up the frozen service",
        )
        by_agent = time.monotonic() - begun
        print(f"frozen agent noticed after {by_service:.1f} s, frozen service after {by_agent:.1f} s")
        assert by_service <= 45 and by_agent <= 45
        assert frozen_agent.target.get("/login/").error == "601"

        frozen_agent.agent.process.signal(signal.SIGCONT)
        frozen_service.service.process.signal(signal.SIGCONT)
        for rig in (frozen_agent, frozen_service):
            wait_for(rig.answers, 70, "the printer after the thaw")
    finally:
        frozen_agent.close()
        frozen_service.close()
