"""Mangled requests through service and agent to four real servers (T15, F5).

Every byte between agent and server is kept. Read strictly, it has to be the requests that the visitors sent, read as
strictly, as far as the service let them in: no request more, one way of telling each length, nothing that belongs to
one connection. Each answer has to have gone to its own request.

SPOOLWAY_MUTATIONS sets how many cases there are, SPOOLWAY_MUTATIONS_SEED which.
"""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import OWNER, make_directory

from harness.agent import Agent
from harness.capture import Capture
from harness.framing import Origin, check
from harness.haproxy import Haproxy
from harness.mutations import Mutator
from harness.nginx import Nginx
from harness.octoprint import API_KEY
from harness.process import free_port
from harness.raw_visitor import visit

COUNT = int(os.environ.get("SPOOLWAY_MUTATIONS", 2400))
SEED = int(os.environ.get("SPOOLWAY_MUTATIONS_SEED", random.randrange(1 << 32)))
# The captured bytes of so many are held at once.
BATCH = 2000
VISITORS_AT_ONCE = 6

NGINX = """
        default_type text/plain;
        underscores_in_headers on;
        ignore_invalid_headers off;
        keepalive_requests 100000;
        # It answers before it has read the body, which it reads on to throw away.
        location / { return 200 "$request_method $request_uri"; }
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend printer
    bind 127.0.0.1:%(port)d
    default_backend software
backend software
    server software 127.0.0.1:%(software)d
"""


class Software:
    """One of the servers: where it is, and how requests to it are told apart."""

    def __init__(self, port: int, share: float, target, lines=lambda _: [], echoes=False, close=lambda: None):
        self.port, self.share, self.target, self.lines, self.echoes = port, share, target, lines, echoes
        self.close = close


def nginx(_request, directory):
    server = Nginx(directory, NGINX).start()
    return Software(server.port, 0.35, lambda id: b"/case?" + id, echoes=True, close=server.close)


def haproxy(request, directory):
    software, port = request.getfixturevalue("echo_printer").port, free_port()
    server = Haproxy(directory, port, HAPROXY % {"port": port, "software": software}).start()
    return Software(port, 0.35, lambda id: b"/echo?" + id, echoes=True, close=server.close)


def tornado_of_octoprint(request, _directory):
    octoprint = request.getfixturevalue("octoprint")
    path = octoprint.offer("mutations.gcode", random.Random(1).randbytes(100_000)).encode()
    key = b"X-Api-Key: " + API_KEY.encode()
    return Software(octoprint.port, 0.15, lambda id: path + b"?" + id, lambda number: [key, part_of_file(number)])


def tornado_of_moonraker(request, _directory):
    moonraker = request.getfixturevalue("moonraker")
    path = moonraker.offer("mutations.cfg", random.Random(1).randbytes(100_000)).encode()
    return Software(moonraker.port, 0.15, lambda id: path + b"?" + id, lambda number: [part_of_file(number)])


def part_of_file(number: int) -> bytes:
    """Asks for other bytes each time, so that answers of a server that echoes nothing can be told apart."""
    return b"Range: bytes=%d-%d" % (number % 99_000, number % 99_000 + 31)


@pytest.mark.timeout(180 + COUNT // 20)
@pytest.mark.parametrize(
    "make", [nginx, haproxy, tornado_of_octoprint, tornado_of_moonraker], ids=lambda one: one.__name__
)
def test_the_software_gets_what_its_visitors_sent(make, request, service, tmp_path):
    print(f"SPOOLWAY_MUTATIONS_SEED={SEED} SPOOLWAY_MUTATIONS={COUNT}")
    software = make(request, make_directory(tmp_path, "software"))
    capture = Capture(software.port).start()
    agent = Agent(tmp_path / "agent", service.add_printer(OWNER), capture.url, log_filter="warn")
    totals = {"relayed": 0, "refused": 0, "cut": 0}
    try:
        agent.start()
        target = agent.printer.app()
        host, (name, value) = target.host.encode(), *target.authorization().items()
        mutator = Mutator(SEED, host, f"{name}: {value}".encode(), software.target, software.lines)
        left = int(COUNT * software.share)
        while left > 0:
            cases = [mutator.case() for _ in range(min(left, BATCH))]
            left -= len(cases)
            with ThreadPoolExecutor(VISITORS_AT_ONCE) as visitors:
                visits = list(visitors.map(lambda case: visit(service.port, case.data), cases))
            # Whatever the agent has still open ends with it.
            agent.process.terminate()
            origin = Origin(
                capture.take(), software.echoes, lambda message: b"x-forwarded-for" not in dict(message.headers)
            )
            for case, seen in zip(cases, visits, strict=True):
                try:
                    for key, number in check(case, seen, origin.take(case.id), host).items():
                        totals[key] += number
                except AssertionError as failure:
                    raise AssertionError(
                        f"{failure}\ncase {case.id} ({', '.join(case.steps)}) of seed {SEED}\n"
                        f"sent: {case.data!r}\nreceived: {seen.received!r}"
                    ) from None
            assert not origin.relayed, f"nobody sent {origin.relayed[0].request} (seed {SEED})"
            if left > 0:
                agent.restart()
        print(totals)
        # Neither is everything refused, nor is everything harmless.
        assert totals["relayed"] > COUNT * software.share / 2 and totals["refused"] > COUNT * software.share / 20
    finally:
        agent.close()
        capture.close()
        software.close()


@pytest.fixture
def origin(service, tmp_path):
    """nginx behind an agent, and the bytes between them."""
    server = Nginx(make_directory(tmp_path, "nginx"), NGINX).start()
    capture = Capture(server.port).start()
    agent = Agent(tmp_path / "agent", service.add_printer(OWNER), capture.url)
    try:
        yield agent.start().printer.app(), capture
    finally:
        agent.close()
        capture.close()
        server.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_chunked_body_of_a_get_reaches_the_software(origin, method):
    target, capture = origin
    headers = {"Transfer-Encoding": "chunked"}
    assert target.request(method, "/case", headers, body=b"5\r\nhello\r\n0\r\n\r\n").status == 200
    sent = b"".join(one.request_bytes for one in capture.connections)
    assert b"hello" in sent, "the body was lost, and nobody was told"


def test_a_handshake_has_no_body(origin):
    target, capture = origin
    assert target.handshake("/case", {"Content-Length": "5"}).status in (200, 400)
    sent = b"".join(one.request_bytes for one in capture.connections).lower()
    assert b"content-length" not in sent, "the software waits for a body that never comes"
