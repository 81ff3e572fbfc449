"""SIGTERM: what is open may finish, agents go to the next process, nobody is told that all is well when it is not."""

import hashlib
import time

import pytest
from conftest import OWNER

from harness.agent import Agent
from harness.client import Download, close_code
from harness.printer import WebSocketEcho
from harness.process import wait_for
from harness.service import Service
from harness.sockets import listens

LENGTH = 64 * 1024 * 1024
EXPECTED = hashlib.sha256(bytes(range(256)) * (LENGTH // 256)).hexdigest()


@pytest.fixture
def agent(own_service, echo_printer, tmp_path):
    one = Agent(tmp_path / "agent", own_service.add_printer(OWNER), echo_printer.url).start()
    yield one
    one.close()


def test_an_open_download_finishes_and_agents_move_to_the_next_process(own_service, agent, tmp_path):
    target = agent.printer.app()
    download = Download(target, f"/bytes?length={LENGTH}")
    assert download.read(1024 * 1024)
    lines = len(agent.process.lines)

    own_service.process.signal(15)
    # The next process takes over the port while the old one still serves what it began.
    successor = Service(own_service.directory)
    successor.port = own_service.port
    began = time.monotonic()
    wait_for(lambda: not listens(own_service.process.pid, own_service.port), 10, "the old process to stop listening")
    try:
        successor.start()
        agent.wait_connected(after=lines, timeout=20)
        wait_for(lambda: target.get("/echo").status == 200, 15, "an answer through the next process")
        print(f"answering again {time.monotonic() - began:.2f} s after SIGTERM")
        assert own_service.process.alive
        download.finish()
        assert download.whole and download.sha256 == EXPECTED
        assert own_service.process.popen.wait(35) == 0
    finally:
        successor.close()


def test_an_idle_service_ends_at_once(own_service, agent):
    began = time.monotonic()
    assert own_service.process.terminate() == 0
    assert time.monotonic() - began < 5


def test_open_websockets_are_told_that_the_service_goes_away(own_service, tmp_path):
    echo = WebSocketEcho(tmp_path)
    agent = None
    try:
        echo.start()
        agent = Agent(tmp_path / "agent", own_service.add_printer(OWNER), echo.url).start()
        websocket = agent.printer.app().websocket("/")
        websocket.send("hello")
        assert websocket.recv(timeout=10) == "hello"
        own_service.process.signal(15)
        assert close_code(websocket)[0] == 1012
        assert own_service.process.popen.wait(35) == 0
    finally:
        if agent:
            agent.close()
        echo.close()


def test_a_download_that_never_ends_does_not_hold_the_service_for_ever(own_service, agent):
    download = Download(agent.printer.app(), f"/bytes?length={LENGTH}")
    assert download.read(1024 * 1024)
    began = time.monotonic()
    assert own_service.process.terminate(timeout=45) == 0
    took = time.monotonic() - began
    print(f"ended after {took:.1f} s")
    assert 5 < took < 40
    assert not download.finish().whole
