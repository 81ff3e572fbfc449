"""The existing plugin's own transport and encoding, from its link code to what apps get through it."""

import http.client
import json
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness import paths
from harness.client import close_code
from harness.process import Process, wait_for
from harness.service import Printer, Service

EMAIL = "ada@example.org"
PASSWORD = "correct horse battery"
# A throw-away key, published with the tests.
KEY = paths.REPOSITORY / "crates/testkit/data/plugin_challenge_key.pem"


@pytest.fixture
def own_service(tmp_path):
    """A service that nobody has set up yet, and that plugins with the test's key know."""
    service = Service(tmp_path / "service")
    service.data.mkdir(parents=True)
    shutil.copy(KEY, service.data / "plugin-key.pem")
    service.environment["SPOOLWAY_SIGN_UP"] = "open"
    service.start()
    yield service
    service.close()


class PluginClient:
    """The scripted client of `servers/plugin_client.py`."""

    def __init__(self, directory, service, *arguments, environment=None):
        directory.mkdir()
        self.log = directory / "plugin.log"
        modulus = load_pem_private_key(KEY.read_bytes(), None).public_key().public_numbers().n
        url = f"ws://127.0.0.1:{service.port}/octoclientwsv2"
        python = paths.CACHE / "plugin/bin/python"
        command = [python, paths.SERVERS / "plugin_client.py", url, f"{modulus:x}", *arguments]
        self.process = Process(command, self.log, cwd=directory, environment=environment or {})

    def events(self) -> list[dict]:
        return [json.loads(line) for line in list(self.process.lines) if line.startswith("{")]

    def wait(self, event: str, **fields) -> dict:
        def found():
            return next((e for e in self.events() if e["event"] == event and fields.items() <= e.items()), None)

        wait_for(found, 30, f"the plugin says {event} {fields}")
        return found()

    def close(self):
        self.process.close()


def link(service, page, code_link):
    """What an owner does: makes an account, follows the link on the printer's screen, names the printer."""
    page.goto(service.process.wait_line(r"^\s+(http\S+/setup\?token=\S+)$")[1])
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/printers")
    page.goto(code_link)
    page.fill("#name", "Plugin one")
    page.click("button[value=link]")
    page.wait_for_url("**/view/*")
    return page.url.rsplit("/", 1)[1]


def test_the_plugins_own_client_is_linked_and_relayed(own_service, tmp_path, browser):
    plugin = PluginClient(tmp_path / "plugin", own_service)
    try:
        identity = plugin.wait("identity")["printer"]
        plugin.wait("ack", accepted=True, proven=True, octokey=True, accounts=0)
        code_link = plugin.wait("notification")["link"]
        assert urlsplit(code_link).netloc == own_service.domain
        page = browser.new_page()
        assert link(own_service, page, code_link) == identity
        page.close()
        plugin.wait("ack", accepted=True, proven=True, accounts=1)

        app = Printer(own_service, identity, "", "Plugin one").app()
        answer = app.get("/api/version?x=1", headers={"X-Twice": "one"})
        assert answer.status == 200
        echo = json.loads(answer.body)
        assert (echo["method"], echo["path"]) == ("GET", "/api/version?x=1")
        assert echo["headers"]["cookie"] == "", "nobody else's cookies are sent"
        assert echo["headers"]["x-twice"] == "one"
        assert "authorization" not in echo["headers"]

        body = bytes(range(32, 127)) * 30_000
        answer = app.request("POST", "/upload", body=body)
        assert json.loads(answer.body)["body"] == body.decode()

        large = app.get("/large").body
        assert large == b"".join(bytes([65 + index]) * 500_000 for index in range(8))
        with pytest.raises(http.client.IncompleteRead):
            app.get("/short")
        with app.websocket("/sockjs/websocket") as socket:
            for message in ("hello", b"\0binary", "x" * 100_000):
                socket.send(message)
                assert socket.recv(timeout=30) == message
        with app.websocket("/refused") as socket:
            assert close_code(socket)[0] == 4602
        # What would erase the plugin's identity never gets to it.
        for path in ("rekey", "REKEYx", "get-connection-info"):
            refused = app.get(f"/octoeverywhere-command-api/{path}")
            assert (refused.status, json.loads(refused.body)["Status"]) == (200, 403), path
        assert plugin.process.alive
    finally:
        plugin.close()


def test_a_plugin_with_zstd_needs_its_dictionary(own_service, tmp_path, browser):
    digits = (paths.REPOSITORY / "crates/octo/tests/data/zstd_synthetic_dictionary.hex").read_text()
    dictionary = tmp_path / "dictionary"
    dictionary.write_bytes(bytes.fromhex("".join(digits.split())))
    environment = {"PLUGIN_DICTIONARY": str(dictionary)}
    refused = PluginClient(tmp_path / "refused", own_service, environment=environment)
    try:
        assert "dictionary" in refused.wait("ack", accepted=False)["error"]
    finally:
        refused.close()
    command = [paths.SERVICE, "plugin", "import-dictionary", dictionary, "--unknown", "--data", own_service.data]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "next plugin" in said
    plugin = PluginClient(tmp_path / "plugin", own_service, environment=environment)
    try:
        identity = plugin.wait("identity")["printer"]
        page = browser.new_page()
        link(own_service, page, plugin.wait("notification")["link"])
        plugin.wait("ack", accepted=True, accounts=1)
        # The service asks what the printer does, and the page shows it.
        page.get_by_text("Paused").first.wait_for()
        page.close()
        app = Printer(own_service, identity, "", "Plugin one").app()
        assert app.get("/large").body == b"".join(bytes([65 + index]) * 500_000 for index in range(8))
        assert json.loads(app.get("/" + "x" * 300).body)["path"] == "/" + "x" * 300
        with app.websocket("/sockjs/websocket") as socket:
            for message in ("short", "x" * 1000, "y" * 100_000, "x" * 1000):
                socket.send(message)
                assert socket.recv(timeout=30) == message
    finally:
        plugin.close()


def test_a_plugin_that_is_too_old_is_told_to_update(own_service, tmp_path):
    plugin = PluginClient(tmp_path / "plugin", own_service, "1.2.3")
    try:
        refusal = plugin.wait("ack", accepted=False)
        assert refusal["update"]
        plugin.wait("closed")
    finally:
        plugin.close()
