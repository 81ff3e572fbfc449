"""`spoolway-agent setup` at a terminal, with real OctoPrint and somebody who allows what it asks for."""

import stat
import subprocess
import tomllib
import urllib.request

import pexpect

from harness import paths
from harness.direct import Direct
from harness.octoprint import OctoPrintSession
from harness.process import wait_for


def pending(session: OctoPrintSession) -> list[dict]:
    return list(session.get("/api/plugin/appkeys").expect(200).json()["pending"].values())


def test_octoprint_gives_a_key_that_works(service, octoprint, tmp_path):
    session = OctoPrintSession(Direct(octoprint.url).target())
    config = tmp_path / "agent.toml"
    config.write_text("# mine\n")
    flags = ["--config", str(config), "--server", service.agents_origin, "--printer", octoprint.url]
    terminal = pexpect.spawn(str(paths.AGENT), ["setup", *flags], timeout=60, encoding="utf-8", dimensions=(40, 200))
    try:
        terminal.expect_exact("answers.")
        terminal.expect_exact("There is OctoPrint")
        terminal.expect_exact("Ask OctoPrint for one?")
        terminal.send("y")
        terminal.expect_exact("Waiting")
        wait_for(lambda: pending(session), 30, "OctoPrint to have the request")
        (request,) = pending(session)
        assert request["app_id"] == "Spoolway agent"
        session.post(f"/plugin/appkeys/decision/{request['user_token']}", {"decision": True}).expect(204)
        terminal.expect_exact("OctoPrint has given a key")
        terminal.expect_exact("Your name for the printer")
        terminal.send("\r")
        terminal.expect_exact("Next: spoolway-agent run --config")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close()
    assert terminal.exitstatus == 0
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    text = config.read_text()
    assert "# mine" in text
    settings = tomllib.loads(text)
    (printer,) = settings["printer"]
    assert settings["server"] == service.agents_origin and printer["url"] == octoprint.url

    key = printer["api_key"]
    status = urllib.request.Request(f"{octoprint.url}/api/settings", headers={"X-Api-Key": key})
    with urllib.request.urlopen(status, timeout=30) as answer:
        assert answer.status == 200
    subprocess.run([paths.AGENT, "config", "check", "--config", config], check=True, timeout=30)
    # It stays between the agent and the printer.
    assert key not in service.log.read_text()
