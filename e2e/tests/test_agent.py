"""The agent's own behaviour: what it says when something is wrong, and whom it trusts."""

import json
import os
import shutil
import stat

import pytest
from conftest import OWNER

from harness import paths
from harness.agent import Agent
from harness.printer import EchoPrinter
from harness.process import Process, free_port, wait_for


def says(process: Process, *words: str, timeout: float = 40):
    """Waits until the agent has said all of these words, in any case."""
    wait_for(
        lambda: all(word in process.tail(20_000).lower() for word in words),
        timeout,
        f"the agent to say {words}\n{process.tail()}",
    )


@pytest.fixture
def run(tmp_path):
    """Starts agents and ends them."""
    processes = []

    def start(*arguments, **environment):
        command = [paths.AGENT, "run", "--data", tmp_path / f"data{len(processes)}", *arguments]
        processes.append(
            Process(
                command, tmp_path / f"agent{len(processes)}.log", environment={"SPOOLWAY_LOG": "info", **environment}
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def test_it_says_that_the_service_cannot_be_reached(run):
    process = run("--server", f"http://localhost:{free_port()}", "--virtual", "--token", "a" * 40)
    says(process, "refused")
    assert process.alive


def test_it_says_that_the_token_is_wrong(run, service):
    process = run("--server", service.origin, "--virtual", "--token", "a" * 40)
    says(process, "token")
    assert not process.lines or not any(line.startswith("connected") for line in process.lines)


def test_an_enrolment_token_works_once(run, service, echo_printer, tmp_path):
    printer = service.add_printer(OWNER)
    agent = Agent(tmp_path / "first", printer, echo_printer.url)
    try:
        agent.start()
        second = run("--server", service.origin, "--virtual", "--token", printer.token)
        says(second, "token")
        assert printer.app().get("/echo").status == 200
    finally:
        agent.close()


def test_an_unreachable_printer_leaves_it_connected_and_says_so(service, tmp_path):
    echo = EchoPrinter(tmp_path)
    agent = Agent(tmp_path / "agent", service.add_printer(OWNER), echo.url)
    try:
        agent.start()
        app = agent.printer.app()
        answer = app.get("/echo")
        assert (answer.status, answer.error, answer.headers["Retry-After"]) == (602, "602", "5")
        says(agent.process, "printer")
        echo.start()
        wait_for(lambda: app.get("/echo").status == 200, 10, "the printer that came later")
    finally:
        agent.close()
        echo.close()


def test_its_identity_is_for_its_own_eyes(echo_agent):
    files = [file for file in echo_agent.data.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_uid == os.getuid()


def test_it_does_not_speak_plain_http_to_a_stranger(run):
    # A host that is not this machine, and is never asked: the refusal comes first.
    process = run("--server", "http://service.example", "--virtual", "--token", "a" * 40)
    assert process.popen.wait(20) != 0
    says(process, "--insecure")


def test_it_does_not_serve_a_service_that_it_cannot_verify(run, tls_service, echo_printer):
    printer = tls_service.add_printer(OWNER)
    before = len(echo_printer.uploads())
    process = run("--server", tls_service.origin, "--printer", echo_printer.url, "--token", printer.token)
    says(process, "certificate")
    assert not [line for line in process.lines if line.startswith("connected")]
    assert len(echo_printer.uploads()) == before
    assert printer.app().get("/echo").error == "601"


def test_one_process_serves_several_printers(service, echo_printer, octoprint, tmp_path, run):
    printers = [service.add_printer(OWNER, name) for name in ("One", "Two")]
    configuration = tmp_path / "agent.toml"
    blocks = [
        f'[[printer]]\nname = "{printer.name}"\nurl = "{url}"\ntoken = "{printer.token}"\n'
        for printer, url in zip(printers, (echo_printer.url, octoprint.url), strict=True)
    ]
    configuration.write_text(f'server = "{service.origin}"\n' + "".join(blocks))
    process = run("--config", configuration)
    process.wait_line(r'^connected to \S+ as "One"$')
    process.wait_line(r'^connected to \S+ as "Two"$')
    assert printers[0].app().get("/echo").status == 200
    assert b"OctoPrint" in printers[1].app().get("/login/").body


def test_the_virtual_printer_pushes_shows_and_prints(service, tmp_path):
    agent = Agent(tmp_path / "agent", service.add_printer(OWNER, "Virtual"), None)
    try:
        agent.start()
        app = agent.printer.app()
        assert app.get("/").status == 200
        assert json.loads(app.get("/api/version").body)["text"]
    finally:
        agent.close()


def test_a_new_connection_of_a_printer_replaces_the_old_one(service, echo_printer, tmp_path):
    printer = service.add_printer(OWNER)
    first = Agent(tmp_path / "agent", printer, echo_printer.url)
    second = Agent(tmp_path / "clone", printer, echo_printer.url)
    try:
        first.start()
        # The same identity from another folder, as after a machine was cloned. Two may not share one folder.
        shutil.copytree(first.data, second.data, ignore=shutil.ignore_patterns("link*", "lock"))
        second.enrolled = True
        second.start()
        app = printer.app()
        for _ in range(20):
            assert app.get("/echo").status == 200
    finally:
        first.close()
        second.close()
