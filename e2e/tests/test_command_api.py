"""The command API through the service, with real OctoPrint, real Moonraker and the virtual printer."""

import hashlib
import json
import threading
import time
from urllib.parse import quote

import pytest

from conftest import OWNER, started
from harness.agent import Agent
from harness.camera import Frames
from harness.moonraker import Moonraker
from harness.octoprint import API_KEY, OctoPrint
from harness.process import wait_for

PREFIX = "/octoeverywhere-command-api/"
SLOW_PRINT = b"G28\n" + b"".join(b"G1 X%d Y%d F600\n" % (number % 100, number % 50) for number in range(20_000))


class Commands:
    """One connection, spoken to as an app does it."""

    def __init__(self, target):
        self.target = target

    def send(self, command: str, arguments=None, method="POST", headers=None) -> dict:
        """The whole answer, whatever it says."""
        body = None if arguments is None else json.dumps(arguments).encode()
        answer = self.target.request(method, PREFIX + command, headers, body)
        assert answer.status == 200 and answer.error is None, f"{command}: {answer.status} {answer.body[:300]!r}"
        assert answer.headers["Content-Type"] == "text/json"
        return answer.json()

    def code(self, command: str, arguments=None, **options) -> int:
        return self.send(command, arguments, **options)["Status"]

    def result(self, command: str, arguments=None, **options) -> dict:
        answer = self.send(command, arguments, **options)
        assert answer["Status"] == 200, f"{command}: {answer}"
        return answer["Result"]

    def state(self) -> str:
        return self.result("status", {})["JobStatus"]["State"]

    def wait_state(self, *states: str):
        wait_for(lambda: self.state() in states, 30, f"state {states}", 0.2)

    def upload(self, path: str, content: bytes) -> dict:
        answer = self.target.request("PUT", f"{PREFIX}files/upload?path={quote(path)}", None, content).expect(200)
        assert answer.json()["Status"] == 200, answer.body
        return answer.json()["Result"]


@pytest.fixture(scope="module")
def own_octoprint(tmp_path_factory):
    yield from started(OctoPrint(tmp_path_factory.mktemp("command-octoprint")).prepare())


@pytest.fixture(scope="module")
def octoprint_keyed(service, own_octoprint, tmp_path_factory):
    """An agent with a key of OctoPrint's, without which it can tell it nothing."""
    printer = service.add_printer(OWNER, "OctoPrint with a key")
    directory = tmp_path_factory.mktemp("command-octoprint-agent")
    agent = Agent(directory, printer, own_octoprint.url, log_filter="info,printers=debug")
    agent.environment["SPOOLWAY_AGENT_PRINTER_API_KEY"] = API_KEY
    yield from started(agent)


@pytest.fixture(scope="module")
def own_moonraker(tmp_path_factory):
    yield from started(Moonraker(tmp_path_factory.mktemp("command-moonraker"), seconds_per_print=20).prepare())


@pytest.fixture(scope="module")
def moonraker_own_agent(service, own_moonraker, tmp_path_factory):
    printer = service.add_printer(OWNER, "Moonraker for commands")
    yield from started(Agent(tmp_path_factory.mktemp("command-moonraker-agent"), printer, own_moonraker.direct_url))


@pytest.fixture(scope="module")
def virtual_agent(service, tmp_path_factory):
    printer = service.add_printer(OWNER, "Virtual printer for commands")
    agent = Agent(tmp_path_factory.mktemp("command-virtual-agent"), printer, None)
    agent.arguments += ["--virtual-lines-per-second", "50"]
    yield from started(agent)


@pytest.fixture(params=["octoprint_keyed", "moonraker_own_agent", "virtual_agent"], ids=["octoprint", "moonraker", "virtual"])
def agent(request):
    return request.getfixturevalue(request.param)


def ready(agent) -> Commands:
    commands = Commands(agent.printer.app())
    wait_for(lambda: commands.code("status", {}) == 200, 60, "the printer to be known", 0.3)
    return commands


def test_a_print_is_uploaded_started_paused_resumed_and_cancelled(agent):
    commands = ready(agent)
    assert commands.result("ping", method="GET") == {"Message": "Pong"}
    assert [commands.code(order, {}) for order in ("pause", "resume", "cancel")] == [786] * 3
    stored = commands.upload("gcode/slow print.gcode", SLOW_PRINT)
    assert stored["SizeBytes"] == len(SLOW_PRINT)
    path = stored["VirtualPath"]
    back = commands.target.get(f"{PREFIX}files/download?path={quote(path)}").expect(200)
    assert hashlib.sha256(back.body).hexdigest() == hashlib.sha256(SLOW_PRINT).hexdigest()
    listed = commands.result("files/list", {"root": "gcode"})["Root"][0]["Children"]
    assert path in [node["VirtualPath"] for node in listed]

    wait_for(lambda: commands.code("start", {"Path": path}) == 200, 30, "the print to start", 1)
    commands.wait_state("printing")
    print_id = commands.result("status", {})["OctoEverywhereStatus"]["MostRecentPrintIdStr"]
    assert print_id and commands.code("start", {"Path": path}) == 786
    assert commands.code("resume", {}) == 786
    assert commands.code("pause", {}) == 200
    commands.wait_state("paused")
    assert commands.code("pause", {}) == 786
    assert commands.code("resume", {}) == 200
    commands.wait_state("printing", "warmingup")
    status = commands.result("status", {"IncludeMaterialSystem": True})
    assert status["JobStatus"]["CurrentPrint"]["FileName"].endswith(path.split("/")[-1])
    assert status["OctoEverywhereStatus"]["MostRecentPrintIdStr"] == print_id
    assert commands.code("cancel", {}) == 200
    commands.wait_state("cancelled", "idle", "complete")
    wait_for(lambda: commands.code("files/delete", {"path": path}) == 200, 30, "the file to be free", 0.5)
    # Moonraker forgets what it knew of a file a moment later.
    wait_for(lambda: commands.code("files/details", {"path": path}) == 404, 10, "the file to be gone", 0.2)


def test_each_platform_does_what_it_can(octoprint_keyed, moonraker_own_agent, own_moonraker, virtual_agent):
    octoprint, moonraker, virtual = map(ready, (octoprint_keyed, moonraker_own_agent, virtual_agent))
    features = [commands.result("status", {})["Features"] for commands in (octoprint, moonraker, virtual)]
    assert features == [32, 63, 33]
    assert octoprint.result("status", {})["PlatformVersion"].startswith("1.")
    for command, arguments in (
        ("home", {}),
        ("move-axis", {"Axis": "X", "DistanceMm": 1}),
        ("extrude", {"Extruder": 0, "DistanceMm": 1}),
        ("set-temp", {"BedC": 50}),
    ):
        codes = [commands.code(command, arguments) for commands in (octoprint, moonraker, virtual)]
        assert codes == [788, 200, 788], command
    lines = own_moonraker.api("printer/objects/query?lines_run")["status"]["lines_run"]["lines"]
    for line in ("G28", "G1 X1 F3000", "G1 E1 F300", "M140 S50"):
        assert line in lines
    wait_for(lambda: moonraker.result("status", {})["JobStatus"]["CurrentPrint"]["Temps"]["BedTarget"] == 50, 10, "the bed")
    for commands, name in ((moonraker, "caselight"), (virtual, "light")):
        assert commands.code("set-light", {"Name": name, "On": True}) == 200
        lit = [{"Name": name, "On": True}]
        wait_for(lambda: commands.result("status", {})["JobStatus"]["Lights"] == lit, 10, "the light")
        assert commands.code("set-light", {"Name": "none", "On": True}) == 400
    assert octoprint.code("set-light", {"Name": "none", "On": True}) == 788


def test_octoprint_tells_by_itself_what_changes(octoprint_keyed, own_octoprint):
    commands = ready(octoprint_keyed)
    log = lambda: octoprint_keyed.log.read_text()
    wait_for(lambda: "OctoPrint pushes what changes" in log(), 30, "OctoPrint to push", 0.2)
    target = lambda: commands.result("status", {})["JobStatus"]["CurrentPrint"]["Temps"]["BedTarget"]
    for degrees in (40, 0):
        own_octoprint.command("printer/bed", {"command": "target", "target": degrees})
        wait_for(lambda: target() == degrees, 30, "the bed's target to be shown", 0.2)
    assert "pushes nothing" not in log()


def test_what_makes_no_sense_is_refused(agent):
    commands = ready(agent)
    target = commands.target
    for body in (b"{", b"[]", b"null", b"\xff", b"[" * 100_000):
        assert target.request("POST", PREFIX + "pause", None, body).json()["Status"] == 751
    assert target.request("POST", PREFIX + "pause", None, b" " * 1_000_000 + b"{}").json()["Status"] == 400
    assert [commands.code(name, {}) for name in ("dance", "pausexyz", "pause/x")] == [754] * 3
    for path in ("gcode/../x", "gcode/%2e%2e/x", "gcode\\..\\x", "../x", "/etc/passwd", "gcode", "", "gcode/" + "a" * 4096):
        assert commands.code("files/delete", {"path": path}) == 400, path
    assert commands.code("status", {}, method="DELETE") == 400
    assert commands.code("proxy/mqtt", {}) == 403 or commands.code("proxy/mqtt", {}) == 400
    assert commands.code("status", {}) == 200


def test_who_may_do_what(virtual_agent):
    commands = ready(virtual_agent)
    shared = Commands(virtual_agent.printer.shared())
    # A link shows; what acts, and the files, stay behind the login of the printer's own pages.
    assert shared.result("ping", method="GET")
    assert [shared.code(what, {}) for what in ("pause", "files/list", "cancel")] == [403, 403, 403]
    for command in ("rekey", "rekeyx", "REKEY", "get-connection-info", "send-command", "get-connection-info%20"):
        assert [one.code(command, {}) for one in (commands, shared)] == [403, 403], command
    assert shared.code("set-local-plugin-webcam-items", {"LocalPluginWebcams": []}) == 403
    # What a visitor says of itself does not count.
    said = {"spoolway-caller": "owner control full", "Spoolway-Caller": "owner control full"}
    assert commands.code("get-connection-info", {}, headers=said) == 403
    foreign = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert shared.code("cancel", {}, headers=foreign) == 403
    assert commands.code("cancel", method="GET", headers=foreign) == 403
    assert commands.code("cancel", method="GET") == 786
    assert shared.code("status", {}, headers=foreign) == 200
    for spelling in ("//octoeverywhere-command-api/ping", "/x/../octoeverywhere-command-api/ping"):
        assert commands.target.get(spelling).json()["Status"] == 403
    assert commands.target.handshake(PREFIX + "status").status == 403
    answer = commands.target.handshake(PREFIX + "proxy/mqtt")
    assert answer.status == 400 and answer.json()["Status"] == 788


def test_a_printer_that_is_away_is_785_and_an_agent_that_is_away_is_601(service, tmp_path):
    agent = Agent(tmp_path / "agent", service.add_printer(OWNER, "Gone"), "http://127.0.0.1:9")
    try:
        agent.start()
        commands = Commands(agent.printer.app())
        assert [commands.code("status", {}), commands.code("pause", {})] == [785, 785]
        assert commands.code("ping", {}) == 200
    finally:
        agent.close()
    wait_for(lambda: commands.target.get(PREFIX + "ping").error == "601", 30, "the link to be gone", 0.3)


def test_cameras_are_shared_and_seen(octoprint_keyed, own_octoprint):
    commands = ready(octoprint_keyed)
    cameras = commands.result("webcam/list", method="GET")
    assert len(cameras["Webcams"]) == 1 and cameras["DefaultIndex"] == 0
    picture = commands.target.get(PREFIX + "webcam/snapshot").expect(200)
    assert picture.headers["Content-Type"] == "image/jpeg" and picture.body.startswith(b"\xff\xd8")
    assert picture.headers["x-oe-webcam-transform"] == "none"
    viewers = [Frames(commands.target, PREFIX + "webcam/stream?index=0") for _ in range(5)]
    try:
        for viewer in viewers:
            assert viewer.content_type == "multipart/x-mixed-replace; boundary=oestreamboundary"
            pictures = [viewer.next()[1] for _ in range(10)]
            assert pictures[0] == pictures[1] and pictures[1] != pictures[9]
    finally:
        for viewer in viewers:
            viewer.close()


def test_the_log_is_given_to_the_owner(octoprint_keyed, virtual_agent):
    for agent, name in ((octoprint_keyed, "octoprint.log"), (virtual_agent, "octoeverywhere.log")):
        target = ready(agent).target
        log = target.get(PREFIX + "get-plugin-logs?tailLines=3").expect(200)
        assert 1 <= len(log.body.splitlines()) <= 3
        assert name in log.headers["Content-Disposition"]
    assert virtual_agent.printer.shared().get(PREFIX + "get-plugin-logs").json()["Status"] == 403


def test_an_upload_that_is_cut_leaves_nothing(agent):
    commands = ready(agent)
    connection = commands.target.connect()
    connection.putrequest("PUT", PREFIX + "files/upload?path=gcode/cut.gcode", skip_host=True)
    for name, value in {"Host": commands.target.host, **commands.target.authorization()}.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"G28\n" * 1000)
    time.sleep(0.5)
    connection.close()
    time.sleep(0.5)
    assert commands.code("files/details", {"path": "gcode/cut.gcode"}) == 404


def test_many_at_once_do_not_get_in_each_others_way(agent):
    commands = ready(agent)
    failures = []

    def ask():
        try:
            for _ in range(10):
                assert commands.code("status", {}) == 200
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
