"""The site as its people use it: from the setup link to an app that is connected and disconnected again."""

import http.server
import re
import threading
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from harness import paths
from harness.process import Process, wait_for
from harness.service import Service
from harness.site import EMAIL, PASSWORD, set_up, totp, watch_policy

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}


@pytest.fixture
def own_service(tmp_path):
    """A service that nobody has set up yet."""
    service = Service(tmp_path / "service")
    (tmp_path / "service").mkdir()
    service.environment["SPOOLWAY_SIGN_UP"] = "open"
    service.start()
    yield service
    service.close()


class CodeAgent:
    """An agent with a virtual printer that waits to be linked by its code."""

    def __init__(self, directory, service):
        self.directory = directory
        command = [paths.AGENT, "run", "--server", service.origin, "--data", directory / "data", "--virtual"]
        command += ["--virtual-lines-per-second", "2"]
        self.process = Process(command, directory / "agent.log", cwd=directory, environment={"SPOOLWAY_LOG": "info"})

    def code(self) -> str:
        log = self.directory / "agent.log"
        found = lambda: re.search(r"with the code ([A-Z2-9]{8})", log.read_text())
        wait_for(found, 60, "the agent shows its code")
        return found()[1]

    def close(self):
        self.process.close()


@pytest.fixture
def code_agent(tmp_path, own_service):
    directory = tmp_path / "agent"
    directory.mkdir()
    agent = CodeAgent(directory, own_service)
    yield agent
    agent.close()


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def shoot(page, artifacts, name):
    """Keeps a page as it looks on a phone and on a desk, in light and dark."""
    for width, size in ((360, PHONE), (1280, DESK)):
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert fits(page), f"{name} is wider than {width}"
            page.screenshot(path=artifacts / f"{name}-{width}-{scheme}.png", full_page=True)
    page.set_viewport_size(DESK)
    page.emulate_media(color_scheme="light")


def link_printer(service, agent, page, name="Virtual one"):
    page.goto(f"{service.origin}/link")
    page.fill("#code", agent.code().lower())
    page.click("button.primary")
    page.fill("#name", name)
    page.click("button[value=link]")
    page.wait_for_url("**/view/*")
    return page.url.rsplit("/", 1)[1]


class AppPage:
    """The page to which the portal returns, as an app would have it."""

    def __init__(self):
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"<p>Back in the app</p>")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/back"

    def close(self):
        self.server.shutdown()


@pytest.fixture
def app_page():
    page = AppPage()
    yield page
    page.close()


def test_from_the_setup_link_to_an_app_that_is_gone(own_service, code_agent, app_page, browser, artifacts):
    service, violations = own_service, []
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    watch_policy(page, violations)
    page.goto(service.origin)
    shoot(page, artifacts, "start")

    link = service.process.wait_line(r"^\s+(http\S+/setup\?token=\S+)$")[1]
    page.goto(link)
    shoot(page, artifacts, "setup")
    set_up(service, page)
    shoot(page, artifacts, "printers-empty")
    # The link has worked once, and never does again.
    other = browser.new_context().new_page()
    other.goto(link)
    assert "was used" in other.inner_text("main")

    printer = link_printer(service, code_agent, page)
    page.wait_for_selector("#live .badge:not(.offline)", timeout=30000)
    picture = page.locator("img[data-stream]")
    wait_for(lambda: picture.evaluate("image => image.naturalWidth") > 0, 30, "the camera shows a picture")

    # A print is started at the printer, and the page follows without being loaded again.
    made = service.admin("app-connection", "create", "--printer", printer, "--app", "Uploader")
    target = service.host(made["url"], basic=(made["authBasicHttpUser"], made["authBasicHttpPassword"]))
    uploaded = target.request("PUT", "/api/files/cube.gcode", body=b"G1 X1\n" * 4000)
    assert uploaded.status in (200, 201, 204), uploaded.body
    started = target.request(
        "POST",
        "/api/job",
        headers={"Content-Type": "application/json"},
        body=b'{"command": "start", "file": "cube.gcode"}',
    )
    assert started.status in (200, 204), started.body
    page.wait_for_selector("#live .badge.active", timeout=30000)
    page.wait_for_selector("#live button[value=pause]", timeout=30000)
    wait_for(lambda: page.locator("#chart canvas").count() == 1, 40, "the chart is drawn")
    shoot(page, artifacts, "view-printing")
    page.click("#live button[value=pause]")
    page.wait_for_selector("#live button[value=resume]", timeout=30000)
    assert "Paused" in page.inner_text("#live")

    page.goto(f"{service.origin}/printers")
    card = page.locator(f"#printer-{printer} .badge").first
    wait_for(lambda: card.inner_text() == "Paused", 30, "the list follows")
    shot = page.locator(f"#printer-{printer} .shot img")
    wait_for(lambda: shot.evaluate("image => image.naturalWidth") > 0, 30, "the card shows a picture")
    covers = """image => {
      const box = image.getBoundingClientRect(), frame = image.parentElement.getBoundingClientRect();
      const middle = document.elementFromPoint(frame.x + frame.width / 2, frame.y + frame.height / 2);
      return middle === image && box.height <= frame.height + 1 && box.width <= frame.width + 1;
    }"""
    assert shot.evaluate(covers), "the picture is cut off, or something lies over it"
    shoot(page, artifacts, "printers")

    # A Live Link, opened by somebody who is not signed in.
    page.goto(f"{service.origin}/shares?printer={printer}")
    page.click("summary:has-text('Live Link')")
    page.select_option("#live-until", "24")
    page.click("form[action='/shares/live'] button.primary")
    live = page.inner_text("#link")
    assert page.locator("svg.qr path").count() == 1
    shoot(page, artifacts, "live-link-made")
    stranger = browser.new_context(viewport=DESK).new_page()
    watch_policy(stranger, violations)
    stranger.goto(live)
    wait_for(
        lambda: stranger.locator("img[data-stream]").evaluate("image => image.naturalWidth") > 0,
        30,
        "a stranger sees the picture",
    )
    assert stranger.locator("main button").count() == 0 and stranger.locator("main form").count() == 0
    shoot(stranger, artifacts, "live-link")
    page.goto(f"{service.origin}/shares")
    shoot(page, artifacts, "shares")
    page.click(f"form[action$='{live.rsplit('/', 1)[1]}/revoke'] button")
    wait_for(lambda: "shows nothing" in stranger.inner_text("main"), 30, "the stranger's page ends with the link")

    # An app asks for access.
    page.goto(f"{service.origin}/appportal/v1?appid=devtest&returnUrl={quote(app_page.url, safe='')}")
    shoot(page, artifacts, "portal")
    through_portal(page, app_page, artifacts)
    # Browsers ask for an icon as well.
    back = next(path for path in app_page.seen if path.startswith("/back"))
    query = {key: values[0] for key, values in parse_qs(urlsplit(back).query).items()}
    assert query["success"] == "true"
    assert query["authbasichttpuser"] == query["authBasicHttpUser"]
    app = service.host(query["url"], basic=(query["authBasicHttpUser"], query["authBasicHttpPassword"]))
    assert app.request("GET", "/api/printer").status == 200
    # A WebSocket client that cannot set headers puts the bearer token into the address.
    assert app.anonymous().handshake(f"/websocket?oe_api_key={query['authBearerToken']}").status == 101
    info = service.site().request("GET", "/api/appconnection/info", headers={"AppToken": query["appApiToken"]})
    assert info.status == 200 and info.json()["Result"]["IsOnline"] is True and info.json()["PrinterName"] == "Virtual one"

    page.goto(f"{service.origin}/shares")
    page.locator(f"form[action='/shares/connections/{query['id']}/revoke'] button").click()
    page.wait_for_url("**/shares")
    wait_for(lambda: app.request("GET", "/api/printer").status == 604, 10, "the app is told that it is gone")
    gone = service.site().request("GET", "/api/appconnection/info", headers={"AppToken": query["appApiToken"]})
    assert gone.status == 604
    assert violations == []


def through_portal(page, app_page, artifacts):
    """Presses what leads on until the app has the browser back."""
    for _ in range(6):
        if page.url.startswith(app_page.url):
            return
        for box in page.locator("main input[name=trust]").all():
            box.check()
        shoot(page, artifacts, f"portal-{urlsplit(page.url).path.strip('/').replace('/', '-')}")
        page.locator("main form button.primary, main a.button.primary").first.click()
        page.wait_for_load_state()
    assert page.url.startswith(app_page.url), page.inner_text("main")


def test_the_full_interface_opens_for_its_owner_only(own_service, code_agent, browser, artifacts):
    service = own_service
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    set_up(service, page)
    link_printer(service, code_agent, page)
    page.wait_for_selector("#live .badge:not(.offline)", timeout=30000)
    page.click("text=Open the full interface")
    page.wait_for_url(re.compile(r"^http://p-"))
    assert urlsplit(page.url).path == "/"
    inside = page.url
    stranger = browser.new_context().new_page()
    stranger.goto(inside)
    assert "/sign-in" in stranger.url
    # Signing out ends it there, too.
    second = context.new_page()
    second.goto(f"{service.origin}/printers")
    second.click("text=Sign out")
    second.wait_for_url(f"{service.origin}/")

    def is_out():
        page.goto(inside)
        return "/sign-in" in page.url

    wait_for(is_out, 5, "the owner's view ends with the session")


def test_one_time_codes_are_asked_for(own_service, browser, artifacts):
    service = own_service
    page = browser.new_context(viewport=DESK).new_page()
    set_up(service, page)
    page.goto(f"{service.origin}/settings")
    shoot(page, artifacts, "settings")
    page.fill("#totp-on", PASSWORD)
    page.click("form[action='/settings/totp/start'] button")
    secret = page.inner_text("#secret").strip()
    shoot(page, artifacts, "totp")
    page.fill("#code", totp(secret))
    page.click("button.primary")
    codes = page.inner_text("#codes").split()
    assert len(codes) == 10
    page.goto(f"{service.origin}/settings")
    page.click("text=Sign out >> nth=0")
    for code, works in (("000000", False), (codes[0], True)):
        page.goto(f"{service.origin}/sign-in")
        page.fill("#email", EMAIL)
        page.fill("#password", PASSWORD)
        page.click("button.primary")
        page.wait_for_url("**/sign-in/second-factor")
        page.fill("#code", code)
        page.click("button.primary")
        if works:
            page.wait_for_url("**/printers")
        else:
            assert "not right" in page.inner_text("main")


def test_a_passkey_signs_in(own_service, browser, artifacts):
    service = own_service
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    set_up(service, page)
    protocol = context.new_cdp_session(page)
    protocol.send("WebAuthn.enable")
    protocol.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    page.goto(f"{service.origin}/settings")
    page.fill("#passkey-name", "Test key")
    page.click("form[data-passkey=register] button")
    page.wait_for_selector("li:has-text('Test key')")
    page.click("header button.link")
    page.wait_for_url(f"{service.origin}/")
    page.goto(f"{service.origin}/sign-in")
    page.click("form[data-passkey=sign-in] button")
    page.wait_for_url("**/printers")
