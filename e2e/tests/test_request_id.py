"""The id that a visitor sees in an error leads to the same request in the service's log and in the agent's."""

import re

import pytest
from conftest import OWNER

from harness.agent import Agent
from harness.process import free_port, wait_for


@pytest.fixture
def agent(service, tmp_path):
    """An agent whose printer's software is off."""
    one = Agent(tmp_path / "agent", service.add_printer(OWNER), f"http://127.0.0.1:{free_port()}")
    try:
        yield one.start()
    finally:
        one.close()


def line_of(log, id: str, words: str) -> str:
    """The line with an id. Logs are written at once, but not before the answer."""
    found = wait_for(
        lambda: [line for line in log.read_text(errors="replace").splitlines() if id in line and words in line],
        10,
        f"{id} in {log}",
    )
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_error_is_found_in_both_logs(service, agent, method):
    body = b"x" if method == "POST" else None
    first, second = (agent.printer.app().request(method, "/some/path", body=body).expect(602) for _ in range(2))
    ids = [answer.json()["RequestId"] for answer in (first, second)]
    assert ids[0] != ids[1]
    for id in ids:
        assert re.fullmatch(r"[0-9A-Za-z]{16}", id)
        told = line_of(service.log, id, "request failed")
        assert "602" in told and method in told
        assert "/some/path" in line_of(agent.log, id, "did not answer")


def test_the_page_for_people_shows_it_too(service, agent):
    page = agent.printer.app().get("/", {"Accept": "text/html"}).expect(602)
    ids = re.findall(r"\b[0-9A-Za-z]{16}\b", page.body.decode())
    found = [id for id in ids if id in service.log.read_text()]
    assert len(set(found)) == 1, ids
    line_of(agent.log, found[0], "did not answer")


def test_a_refused_handshake_has_one(service, agent):
    id = agent.printer.app().handshake("/websocket").expect(602).json()["RequestId"]
    line_of(service.log, id, "request failed")
    line_of(agent.log, id, "did not answer")


def test_what_never_reaches_an_agent_is_in_the_services_log(service):
    printer = service.add_printer(OWNER)
    id = printer.app().get("/").expect(601).json()["RequestId"]
    assert "601" in line_of(service.log, id, "request failed")
    answer = service.site().get("/api/appconnection/info", {"AppToken": "nonesuch"}).expect(603)
    assert "603" in line_of(service.log, answer.json()["RequestId"], "App API")


def test_a_visitor_cannot_choose_it(service, agent):
    forged = "A" * 16
    answer = agent.printer.app().get("/", {"spoolway-request-id": forged, "X-Request-Id": forged}).expect(602)
    id = answer.json()["RequestId"]
    line_of(agent.log, id, "did not answer")
    assert forged not in agent.log.read_text() and forged not in service.log.read_text()
