"""Reverse proxies in front of the service, set up as the manual says (error-codes.md 10.12).

Traefik is in no Debian release, so it is not here.
"""

import http.client
import http.server
import json
import sqlite3
import statistics
import subprocess
import threading
import time
from contextlib import closing, contextmanager

import pytest
from conftest import OWNER, make_directory

from harness.agent import Agent
from harness.camera import Camera, Frames
from harness.client import Download, Target, Upload, close_code
from harness.fronts import DOMAIN, Front
from harness.printer import WebSocketEcho
from harness.process import free_port, wait_for
from harness.service import Printer, Service

KINDS = ["nginx", "haproxy", "caddy"]
CODES = {
    600: "Unknown error",
    601: "Printer offline",
    602: "Printer timeout",
    603: "Connection not found",
    604: "Connection revoked",
    605: "Not a supporter",
    606: "Invalid credentials",
    607: "Download too large",
    608: "Upload too large",
    609: "Webcam limit",
    610: "Plugin update required",
    611: "No beta access",
    612: "Plugin error",
    613: "No active print",
}


class Nonsense:
    """A printer's software that does not speak HTTP."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def handle(self):
                self.request.recv(65536)
                self.wfile.write(b"nonsense\r\n\r\n")

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class World:
    """A service that knows of its proxies, and a printer for each way to fail."""

    def __init__(self, directory, echo_printer):
        self.service = Service(make_directory(directory, "service"))
        self.service.environment = {
            "SPOOLWAY_DOMAIN": DOMAIN,
            "SPOOLWAY_PUBLIC_SCHEME": "https",
            "SPOOLWAY_TRUSTED_PROXIES": "127.0.0.1",
            "SPOOLWAY_BETA_FEATURES": "gadget-api",
        }
        self.camera, self.sockets, self.nonsense = Camera(directory), WebSocketEcho(directory), Nonsense()
        self.directory, self.echo = directory, echo_printer
        self.agents: list[Agent] = []
        self.dead_port = free_port()

    def start(self):
        # Agents find the service past all proxies.
        self.service.start()
        service = self.service
        service.origin = service.url
        service.admin("plan", "set", "none", "--supporter", "false")
        limits = ["--max-upload", "1000", "--max-download", "1000"]
        window = ["--webcam-stream-seconds", "1", "--webcam-window-seconds", "3600", "--webcam-total-seconds", "1"]
        service.admin("plan", "set", "small", "--supporter", "true", *limits, *window)
        service.add_user(OWNER)
        service.add_user("none@example.com", plan="unlimited")
        service.add_user("small@example.com", plan="small")
        self.camera.start()
        self.sockets.start()
        self.files = self.link(OWNER, self.echo.url)
        self.pictures = self.link(OWNER, self.camera.url)
        self.messages = self.link(OWNER, self.sockets.url)
        self.dead = self.link(OWNER, f"http://127.0.0.1:{self.dead_port}")
        self.broken = self.link(OWNER, self.nonsense.url)
        self.small = self.link("small@example.com", self.echo.url)
        self.small_camera = self.link("small@example.com", self.camera.url)
        self.unlinked = service.add_printer(OWNER, "Unlinked").app()
        self.revoked = self.files.printer.app()
        service.admin("app-connection", "revoke", self.revoked.connection["id"])
        self.poor = service.add_printer("none@example.com", "Poor").app()
        service.admin("user", "set-plan", "none@example.com", "none")
        return self

    def link(self, owner: str, url: str):
        number = len(self.agents)
        printer = self.service.add_printer(owner, f"Printer {number}")
        self.agents.append(Agent(self.directory / f"agent-{number}", printer, url).start())
        target = printer.app()
        target.printer = printer
        return target

    def close(self):
        for thing in (*self.agents, self.camera, self.sockets, self.nonsense, self.service):
            thing.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory, echo_printer):
    one = World(tmp_path_factory.mktemp("fronts"), echo_printer)
    try:
        yield one.start()
    finally:
        one.close()


@pytest.fixture(scope="module", params=KINDS)
def front(request, world, tmp_path_factory):
    one = Front(tmp_path_factory.mktemp(request.param), request.param, world.service.port)
    try:
        yield one.start()
    finally:
        one.close()


def through(front: Front, target: Target, **changes) -> Target:
    """The same host with the same credentials, reached through the proxy."""
    other = Target(front, target.host, changes.get("basic", target.basic), target.bearer)
    other.connection = target.connection
    return other


def check_error(answer, code: int, kind: str):
    assert answer.status == code, f"{answer.status} {answer.reason}: {answer.body[:300]!r}"
    assert answer.error == str(code)
    # Apps go by the number; Caddy has no phrase for it.
    assert answer.reason == (f"status code {code}" if kind == "caddy" else CODES[code])
    body = json.loads(answer.body)
    assert body["Status"] == code and body["RequestId"]
    assert answer.headers.get("Retry-After") == (str(body["RetryAfterSec"]) if body["RetryAfterSec"] else None)


@contextmanager
def broken_store(service: Service):
    """A store that cannot answer."""
    with closing(sqlite3.connect(service.data / "spoolway.db", timeout=10)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = next(name for name in tables if name.endswith("connection") or name.endswith("connections"))
        database.execute(f"ALTER TABLE {table} RENAME TO away")
        database.commit()
        try:
            yield
        finally:
            database.execute(f"ALTER TABLE away RENAME TO {table}")
            database.commit()


def test_errors_of_the_service_arrive(world, front):
    def check(code, answer):
        check_error(answer, code, front.kind)

    check(601, through(front, world.unlinked).get("/"))
    check(602, through(front, world.dead).get("/"))
    label = "a" * 32
    check(603, Target(front, f"app-{label}.{DOMAIN}", ("x", "y")).get("/"))
    check(604, through(front, world.revoked).get("/"))
    check(605, through(front, world.poor).get("/"))
    check(606, through(front, world.files, basic=("wrong", "wrong")).get("/"))
    check(607, through(front, world.small).get("/bytes?length=2000"))
    check(608, Upload(through(front, world.small), "/digest", "file", "x", b"x" * 2000).send().response())
    site = Target(front, DOMAIN)
    token = {"AppToken": world.files.connection["appApiToken"]}
    check(611, site.post_json("/api/gadget/GetStatusFromAppConnection", {}, token))
    check(612, through(front, world.broken).get("/"))
    with broken_store(world.service):
        check(600, Target(front, f"app-{label}.{DOMAIN}", ("x", "y")).get("/"))
    check(603, Target(front, f"app-{label}.{DOMAIN}", ("x", "y")).get("/"))
    # What is refused in place of a WebSocket, too.
    check(601, through(front, world.unlinked).handshake("/websocket"))
    check(602, through(front, world.dead).handshake("/websocket"))


def test_a_camera_over_its_time_is_refused(world, front):
    camera = through(front, world.small_camera)
    wait_for(lambda: used_up(camera), 30, "the camera's time to be used up")
    check_error(camera.get("/webcam/?action=stream"), 609, front.kind)


def used_up(camera: Target) -> bool:
    """Watches for as long as the plan lets one."""
    connection, response = camera.send("GET", "/webcam/?action=stream")
    with closing(connection):
        if response.status == 609:
            return True
        try:
            while response.read1(65536):
                pass
        except (OSError, http.client.HTTPException):
            pass
    return False


def test_every_code_arrives(front, tmp_path):
    """Also those that a service with agents of ours never sends: said by a stand-in, as the service would."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            code = int(self.path.strip("/"))
            body = json.dumps({"Status": code, "RequestId": "x", "RetryAfterSec": 5}).encode()
            self.send_response_only(code, CODES[code])
            for name, value in (("X-Spoolway-Error", code), ("Retry-After", 5), ("Content-Length", len(body))):
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    other = Front(tmp_path, front.kind, server.server_port)
    try:
        other.start()
        for code in CODES:
            check_error(Target(other, f"app-x.{DOMAIN}").get(f"/{code}"), code, front.kind)
            output = curl(other, f"app-x.{DOMAIN}", f"/{code}", "--http2", "-i")
            assert output.startswith(f"HTTP/2 {code}".encode()), output
            assert f"x-spoolway-error: {code}".encode() in output
    finally:
        other.close()
        server.shutdown()
        server.server_close()


def curl(front: Front, host: str, path: str, *arguments) -> bytes:
    command = ["curl", "-sS", "--max-time", "60", "--resolve", f"{host}:{front.port}:127.0.0.1"]
    command += ["--cacert", front.tls.authority, *arguments, f"https://{host}:{front.port}{path}"]
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_files_pass_both_ways(world, front, random_bytes):
    files = through(front, world.files)
    length = 16 * 1024 * 1024
    download = Download(files, f"/bytes?length={length}").finish()
    assert download.whole and download.received == length
    content = random_bytes(4 * 1024 * 1024)
    answer = Upload(files, "/digest", "file", "x", content).send().response().expect(200)
    assert answer.json()["length"] > len(content)
    # The visitor's own address and scheme get past the proxy, and what the visitor says of them does not.
    headers = dict(files.get("/echo", {"X-Forwarded-For": "192.0.2.1"}).expect(200).json()["headers"])
    assert headers["x-forwarded-for"] == "127.0.0.1" and headers["x-forwarded-proto"] == "https"


def test_websockets_pass(world, front):
    websocket = through(front, world.messages).websocket("/")
    for size in (0, 1, 125, 126, 70_000, 1_000_000):
        websocket.send("x" * size)
        assert websocket.recv(timeout=20) == "x" * size
    # Its end, and the reason, come through as well.
    world.service.admin("app-connection", "revoke", world.messages.connection["id"])
    try:
        assert close_code(websocket)[0] == 4604
    finally:
        fresh = world.messages.printer.app()
        fresh.printer, world.messages = world.messages.printer, fresh


def test_a_camera_is_not_held_up(world, front):
    frames = Frames(through(front, world.pictures))
    delays, numbers = [], []
    for _ in range(40):
        headers, _ = frames.next()
        delays.append((time.monotonic_ns() - int(headers["x-timestamp"])) / 1e6)
        numbers.append(int(headers["x-frame"]))
    frames.close()
    print(f"{front.kind}: median {statistics.median(delays):.1f} ms")
    assert numbers == list(range(40))
    # A proxy that gathers pictures before it sends them would be seconds late.
    assert statistics.median(delays) < 500


def test_an_agent_dials_through_it(world, front, tmp_path):
    made = world.service.add_printer(OWNER, "Behind a proxy")
    agent = Agent(tmp_path / "agent", Printer(front, made.id, made.token, made.name), world.echo.url)
    try:
        agent.start()
        assert made.app().get("/echo").status == 200
    finally:
        agent.close()
