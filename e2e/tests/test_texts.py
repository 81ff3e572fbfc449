"""Texts of strangers in a browser: on every page that shows them they stay texts (T7, T42).

The oracle is Chromium itself: a script that ran would open a dialog, one that was stopped would break the page's
policy, and an element that was slipped in would be there.
"""

import socket
import threading
from urllib.parse import quote

import pytest
from conftest import make_directory

from harness.agent import Agent
from harness.moonraker import JsonRpc, Moonraker
from harness.process import wait_for
from harness.service import Service
from harness.site import EMAIL, PASSWORD, STRUCTURE, hostile_texts, set_up, sign_in, watch_context

# A NUL cannot be in an argument of a program; the site's own tests have it.
TEXTS = [text for text in hostile_texts() if "\0" not in text]
# The service takes control characters and spaces around out of names. In front stands what keeps each a name.
NAMES = [f"x{text}"[:60] for text in TEXTS]
HARMLESS = [f"x harmless {number}" for number in range(len(TEXTS))]
VICTIM, CONTROL = "victim@example.org", "control@example.org"


class Account:
    """Somebody whose printers and apps have given names."""

    def __init__(self, service: Service, email: str, names: list[str]):
        self.email = email
        service.admin("user", "add", email, "--password-stdin", stdin=PASSWORD)
        self.printers = [service.add_printer(email, name) for name in names]
        self.connections = [printer.app_connection(name) for printer, name in zip(self.printers, names, strict=True)]
        self.live_links = []
        for connection in self.connections[::4]:
            token = {"AppToken": connection["appApiToken"]}
            made = service.site().post_json("/api/live/createfromappconnection", {}, token).expect(200)
            self.live_links.append(made.json()["Result"]["Url"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    service = Service(make_directory(tmp_path_factory.mktemp("texts"), "service"))
    service.environment["SPOOLWAY_SIGN_UP"] = "open"
    try:
        service.start()
        yield service, Account(service, VICTIM, NAMES), Account(service, CONTROL, HARMLESS)
    finally:
        service.close()


@pytest.fixture
def watched(browser):
    """Makes contexts; at the end, nothing may have spoken or been stopped in any of them."""
    violations, contexts = [], []

    def make(**options):
        context = browser.new_context(**options)
        context.set_default_timeout(60_000)
        watch_context(context, violations)
        contexts.append(context)
        return context.new_page()

    make.violations = violations
    yield make
    for context in contexts:
        context.close()
    assert violations == []


def test_the_oracle_sees_what_it_is_for(stage, watched):
    service, *_ = stage
    page = watched()
    page.goto(f"{service.origin}/sign-in")
    before = page.evaluate(STRUCTURE)
    page.evaluate("alert(1)")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>')")
    wait_for(lambda: page.evaluate("1") and len(watched.violations) >= 2, 10, "a dialog and a violation")
    assert "a dialog said '1'" in watched.violations
    assert any("script-src" in line for line in watched.violations)
    assert page.evaluate(STRUCTURE) != before
    watched.violations.clear()


def test_names_of_printers_and_apps_stay_texts(stage, watched):
    service, victim, control = stage
    structures = []
    for account in (victim, control):
        page = watched()
        sign_in(service, page, account.email)
        seen: dict[str, list] = {}
        for path in ("/printers", "/shares", "/settings/log"):
            page.goto(service.origin + path)
            seen[path] = [page.evaluate(STRUCTURE)]
            if account is victim and path != "/settings/log":
                text = page.inner_text("main")
                assert all(name in text for name in NAMES if name.isascii()), path
        # One page of a harmless printer is like another, and the hostile ones have to be like it.
        printers = account.printers[::2] if account is victim else account.printers[:1]
        for number, printer in enumerate(printers):
            paths = ["/view/{}", "/printers/{}/settings", "/shares?printer={}"]
            for path in paths if number == 0 else paths[:1]:
                page.goto(service.origin + path.format(printer.id))
                seen.setdefault(path, []).append(page.evaluate(STRUCTURE))
        stranger = watched()
        for link in account.live_links if account is victim else account.live_links[:1]:
            stranger.goto(link)
            seen.setdefault("live", []).append(stranger.evaluate(STRUCTURE))
        structures.append(seen)
    hostile, harmless = structures
    for path, (expected,) in harmless.items():
        for structure in hostile[path]:
            assert structure == expected, path
    assert len(hostile["/view/{}"]) >= len(NAMES) // 2 and len(hostile["live"]) > 5


def test_what_the_address_says_stays_text(stage, watched):
    service, victim, _ = stage
    page = watched()
    sign_in(service, page, VICTIM)
    printer = victim.printers[0].id
    for form, texts in (
        ("/appportal/v1?appId={}", TEXTS),
        ("/appportal/v1?appId={}&printerId=" + printer, TEXTS[::3]),
        ("/appportal/v1?appId=app&octoPrintApiKeyAppName={}&printerId=" + printer, TEXTS[::3]),
        ("/appportal/v1?appId=app&returnUrl={}", TEXTS[::3]),
        # Who tries more codes is told to wait.
        ("/link?code={}", TEXTS[:4]),
    ):
        page.goto(service.origin + form.format("xharmless"))
        harmless = page.evaluate(STRUCTURE)
        for text in texts:
            page.goto(service.origin + form.format(quote("x" + text[:50], safe="")))
            # A return address may be refused for what it is, but not change the page that says so.
            structure = page.evaluate(STRUCTURE)
            if "returnUrl" not in form:
                assert structure == harmless, (form, text)


def test_what_was_typed_stays_text(stage, watched):
    service, *_ = stage
    page = watched()
    harmless = None
    # Few: from one address a fast machine may sign in twenty times, and the tests here share that.
    for text in ["harmless", *TEXTS[:4]]:
        page.goto(f"{service.origin}/sign-in")
        # Past the browser's own opinion of what an address is.
        page.evaluate(
            """text => {
                const field = document.querySelector("#email");
                field.type = "text";
                field.value = text;
                document.querySelector("#password").value = "wrong horse";
            }""",
            text,
        )
        with page.expect_navigation():
            page.evaluate("document.querySelector('form[action=\"/sign-in\"]').submit()")
        assert page.input_value("#email") == text
        structure = page.evaluate(STRUCTURE)
        harmless = harmless or structure
        assert structure == harmless, text


def test_names_of_browsers_stay_texts(stage, watched):
    service, *_ = stage
    agents = [text for text in TEXTS if text.isascii() and text.isprintable()][:4]
    for text in agents:
        sign_in(service, watched(user_agent="x" + text), VICTIM)
    page = watched()
    sign_in(service, page, VICTIM)
    page.goto(f"{service.origin}/settings")
    shown = page.inner_text("main")
    assert all("x" + text in shown for text in agents)
    assert page.locator("main script, main img, main svg:not(.qr), main iframe").count() == 0


def test_names_of_files_stay_texts(stage, watched, tmp_path):
    """A print of real Moonraker, whose file's name travels through agent and service onto the page."""
    service, *_ = stage
    names = [f"x{text}.gcode" for text in TEXTS if not set('/"\\\n') & set(text) and text.isprintable()][:6]
    assert len(names) == 6
    moonraker = Moonraker(make_directory(tmp_path, "moonraker"), seconds_per_print=600).prepare()
    agent = None
    try:
        moonraker.start()
        agent = Agent(tmp_path / "agent", service.add_printer(VICTIM, "Files"), moonraker.direct_url).start()
        rpc = JsonRpc(agent.printer.app())
        page = watched()
        sign_in(service, page, VICTIM)
        page.goto(f"{service.origin}/view/{agent.printer.id}")
        for name in ("harmless.gcode", *names):
            (moonraker.gcodes / name).write_bytes(b"G28\n")
            rpc.call("printer.print.start", filename=name)
            page.wait_for_function("name => document.querySelector('#live').innerText.includes(name)", arg=name)
            foreign = page.locator("#live script, #live iframe, #live b, #live svg[onload], #live [onerror]")
            assert foreign.count() == 0, name
        rpc.close()
    finally:
        if agent:
            agent.close()
        moonraker.close()


def test_an_administrator_sees_texts_too(stage, watched):
    service, *_ = stage
    service.admin("app", "add", "hostile", "--name", NAMES[0], "--return", "https://app.example/*")
    page = watched()
    set_up(service, page)
    for path in ("/admin", "/admin/accounts", "/admin/invitations", "/settings/log"):
        page.goto(service.origin + path)
        assert page.locator("main [onload], main [onerror], main iframe").count() == 0
    page.goto(f"{service.origin}/appportal/v1?appId=hostile")
    assert NAMES[0] in page.inner_text("main")
    assert EMAIL in {row["email"] for row in service.admin("user", "list")}


class Trap:
    """A place on this machine that must not be asked; counts who connects."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.visitors = 0
        threading.Thread(target=self.count, daemon=True).start()

    def count(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.visitors += 1
            connection.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_a_logo_makes_no_browser_ask_the_local_network(stage, watched):
    service, victim, _ = stage
    trap = Trap()
    page = watched()
    # A page has loaded when its pictures have.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    try:
        sign_in(service, page, VICTIM)
        for address in ("https://127.0.0.1:{}", "http://127.0.0.1:{}", "https://localhost:{}", "https://[::ffff:127.0.0.1]:{}",
                        "//127.0.0.1:{}", "https://2130706433:{}", "https://10.0.0.1", "https://192.168.1.1",
                        "https://169.254.169.254", "data:image/svg+xml,<svg onload=alert(1)>"):  # fmt: skip
            logo = quote(address.format(trap.port) + ("" if address.startswith("data") else "/logo.png"), safe="")
            for chosen in ("", f"&printerId={victim.printers[0].id}"):
                page.goto(f"{service.origin}/appportal/v1?appId=app&appLogoUrl={logo}{chosen}")
        elsewhere = [url for url in asked if not url.startswith(service.origin + "/")]
        assert elsewhere == []
        # Neither has the service gone there for it.
        assert trap.visitors == 0
        # It would have been noticed.
        with pytest.raises(Exception, match="net::ERR"):
            page.goto(f"http://127.0.0.1:{trap.port}/logo.png")
        assert trap.visitors > 0 and len(asked) > 10
    finally:
        trap.close()
