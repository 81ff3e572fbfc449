"""Each party killed in the middle of each kind of traffic: the right code, nothing cut in silence, and back soon."""

import hashlib
import random
import signal
import time

import pytest
from conftest import OWNER, make_directory

from harness.agent import Agent
from harness.client import Download, Upload, close_code, query
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


SEED = 20_240_601
BLOCK = 64 * 1024
TRANSFER = 16 * 1024 * 1024
POSITIONS = sorted(random.Random(SEED).sample(range(TRANSFER // BLOCK), 16))


@pytest.fixture(scope="module")
def block_rig(tmp_path_factory, echo_printer):
    directory = tmp_path_factory.mktemp("blocks")
    service = Service(make_directory(directory, "service")).start()
    try:
        service.add_user(OWNER)
        agent = Agent(directory / "agent", service.add_printer(OWNER), echo_printer.url).start()
        try:
            yield service, agent, agent.printer.app()
        finally:
            agent.close()
    finally:
        service.close()


@pytest.mark.parametrize("victim", ["agent", "service"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_download_is_whole_or_visibly_broken_wherever_it_was_cut(block_rig, victim, chunked):
    service, agent, target = block_rig
    print(f"seed {SEED}, blocks {POSITIONS}")
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
    # What already was in flight may make the last ones whole, but not many.
    assert broken >= len(POSITIONS) // 2
    recover(service, agent, target)


@pytest.mark.parametrize("victim", ["agent", "service"])
def test_an_upload_is_whole_or_visibly_broken_wherever_it_was_cut(block_rig, victim, echo_printer, random_bytes):
    service, agent, target = block_rig
    print(f"seed {SEED}, blocks {POSITIONS}")
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


def recover(service, agent, target):
    if not service.process.alive:
        service.restart()
        # An agent that has lost many short links one after the other waits longer each time, as it should.
        agent.process.kill()
    if not agent.process.alive:
        agent.restart()

    def answers():
        try:
            return target.get("/echo", timeout=10).status == 200
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
