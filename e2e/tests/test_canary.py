"""No secret is left behind (T37): marked ones go through every part, and are then searched for in what was written."""

import itertools
import re
import secrets

import pytest
from conftest import OWNER, make_directory

from harness.agent import Agent
from harness.canary import expect_nowhere
from harness.printer import EchoPrinter, WebSocketEcho
from harness.process import wait_for
from harness.service import Service


@pytest.fixture
def loud_service(tmp_path):
    """A service that logs all that it can."""
    one = Service(make_directory(tmp_path, "service"), log_filter="trace")
    one.start()
    one.add_user(OWNER)
    yield one
    one.close()


def test_no_secret_is_written_anywhere(loud_service, tmp_path):
    service = loud_service
    echo = EchoPrinter(make_directory(tmp_path, "echo")).start()
    sockets = WebSocketEcho(make_directory(tmp_path, "sockets")).start()
    agents = []
    try:
        account_password, shared_password, cookie, body, wrong = (f"canary{secrets.token_hex(12)}" for _ in range(5))
        service.admin("user", "add", "marked@example.com", "--password-stdin", stdin=account_password)
        printer, socket_printer = service.add_printer("marked@example.com"), service.add_printer("marked@example.com")
        for name, one, target in (("a", printer, echo.url), ("b", socket_printer, sockets.url)):
            agents.append(Agent(tmp_path / f"agent-{name}", one, target, log_filter="trace").start())
        app, socket_app = printer.app(), socket_printer.app()
        shared = printer.shared(password=shared_password)

        # Each credential on each way that it may take, right and wrong.
        for target in (app, app.as_bearer()):
            seen = target.request("POST", "/echo", {"Cookie": f"session={cookie}"}, body.encode()).expect(200).json()
            # The printer gets its own cookie and body, and nothing that opened the connection.
            assert seen["body"] == body
            headers = {name.lower(): value for name, value in seen["headers"]}
            assert headers["cookie"] == f"session={cookie}" and "authorization" not in headers
        for target in (socket_app, socket_app.as_bearer()):
            keyed = target.anonymous().websocket(f"/?oe_api_key={target.oe_api_key()}&other=1")
            keyed.send(body)
            assert keyed.recv(timeout=10) == body
            keyed.close()
        shared.with_credentials(basic=("anyone", shared_password)).get("/echo").expect(200)
        shared.with_credentials(basic=("anyone", wrong)).get("/echo").expect(606)
        app.with_credentials(basic=(app.basic[0], wrong)).get("/echo").expect(606)
        app.with_credentials(bearer=wrong).get("/echo").expect(606)
        socket_app.anonymous().handshake(f"/?oe_api_key={wrong}").expect(606)
        service.site().get("/errors/606", {"Authorization": f"Bearer {wrong}", "Cookie": f"session={cookie}"})
        # And while things fail.
        for agent in agents:
            agent.process.kill()
        wait_for(
            lambda: app.request("POST", "/echo", {"Cookie": f"session={cookie}"}, body.encode()).status == 601,
            10,
            "601",
        )
        socket_app.anonymous().handshake(f"/?oe_api_key={socket_app.oe_api_key()}").expect(601)
        metrics = service.metrics()
        for agent in agents:
            agent.restart()
        app.get("/echo").expect(200)

        key_files = [
            file for agent in agents for file in agent.data.rglob("*") if file.is_file() and file.suffix != ".new"
        ]
        assert key_files and all(file.stat().st_mode & 0o077 == 0 for file in key_files)
        marked = {
            "account password": account_password,
            "shared password": shared_password,
            "cookie": cookie,
            "body": body,
            "wrong credential": wrong,
            "enrolment token": printer.token,
            "second enrolment token": socket_printer.token,
        }
        for name, target in (("app", app), ("socket app", socket_app)):
            for key in ("appApiToken", "authBasicHttpPassword", "authBearerToken"):
                marked[f"{name} {key}"] = target.connection[key]
        for name, file in zip(itertools.count(), key_files):
            # A printer's id stands beside its key, and is no secret.
            for value in set(strings(file.read_text(errors="ignore"))) - {printer.id, socket_printer.id}:
                marked[f"agent key {name} {value[:4]}"] = value

        places = {"metrics": metrics.encode()}
        files = [
            service.log,
            *(agent.log for agent in agents),
            *service.data.rglob("*"),
            echo.directory / "printer.log",
        ]
        places |= {str(file): file.read_bytes() for file in files if file.is_file()}
        places["standard output"] = "\n".join(
            service.process.lines + [line for a in agents for line in a.process.lines]
        ).encode()
        assert any(name.endswith(".db") for name in places)
        assert len(places[str(service.log)]) > 10_000, "the log says too little to prove anything"
    finally:
        for thing in (*agents, sockets, echo):
            thing.close()

    expect_nowhere(marked, places)


def strings(text: str):
    """What looks like a secret in an agent's identity file."""
    return re.findall(r"\b[A-Za-z0-9]{32,}\b", text)
