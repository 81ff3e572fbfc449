"""Autobahn through service and agent: C1 and C2 on HTTP/1.1 and on HTTP/2, C4 for the agent's client side."""

import functools

import pytest
from conftest import OWNER, make_directory, started

from harness.agent import Agent
from harness.autobahn import CONFORMANCE, LARGE_MESSAGES, Bridge, FuzzingServer, examine_server
from harness.direct import Direct
from harness.printer import WebSocketEcho

# Group 9 moves half a gigabyte through Python, which takes a minute on two idle cores.
pytestmark = pytest.mark.timeout(450)

GROUPS = {"C1": (CONFORMANCE, 247), "C2": (LARGE_MESSAGES, 54)}


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    yield from started(WebSocketEcho(tmp_path_factory.mktemp("websocket-echo")))


@pytest.fixture(scope="module")
def own_behaviour(echo, tmp_path_factory):
    """How the echo itself fares in a group, without any relay."""

    @functools.cache
    def of(group):
        report = examine_server(
            tmp_path_factory.mktemp(f"own-{group}"), echo.url.replace("http", "ws"), GROUPS[group][0]
        )
        print(f"{group} without the relay: {report.summary()}")
        return report

    return of


@pytest.mark.parametrize("version", ["http1", "http2"])
@pytest.mark.parametrize("group", ["C1", "C2"])
def test_a_visitors_websockets(request, echo, own_behaviour, tmp_path, group, version):
    # Browsers speak HTTP/2 over TLS only; HTTP/1.1 is tried in the clear, so that both edges are met.
    service = request.getfixturevalue("tls_service" if version == "http2" else "service")
    agent = Agent(tmp_path / "agent", service.add_printer(OWNER), echo.url)
    bridge = None
    try:
        agent.start()
        bridge = Bridge(tmp_path, agent.printer.app(), version).start()
        report = examine_server(make_directory(tmp_path, "autobahn"), bridge.url, GROUPS[group][0])
    finally:
        if bridge:
            bridge.close()
        agent.close()
    print(f"{group} over {version}: {report.summary()}, non-strict {sorted(report.not_strict)}")
    assert len(report.cases) == GROUPS[group][1]
    assert not report.failed, report.failed
    # Large messages leave nothing to be strict about, so that the echo alone is only asked about the rest.
    assert not report.not_strict or report.not_strict <= own_behaviour(group).not_strict


def test_the_agents_client_side(service, tmp_path):
    server = FuzzingServer(tmp_path, CONFORMANCE)
    agent = bridge = printer = None
    try:
        server.start()
        own = server.drive(server.url.replace("http", "ws"))
        server.close()
        server.start()
        # Autobahn's server wants its own port in `Host`, where the relay leaves the name that the visitor used.
        printer = Bridge(tmp_path, Direct(server.url).target(), "http1").start()
        url = printer.url.replace("ws", "http")
        agent = Agent(tmp_path / "agent", service.add_printer(OWNER), url).start()
        bridge = Bridge(tmp_path, agent.printer.app(), "http1").start()
        report = server.drive(bridge.url)
    finally:
        for thing in (bridge, agent, printer, server):
            if thing:
                thing.close()
    print(f"C4: {report.summary()}; without the relay: {own.summary()}")
    assert len(report.cases) == GROUPS["C1"][1]
    assert not report.failed, report.failed
    assert report.not_strict <= own.not_strict
