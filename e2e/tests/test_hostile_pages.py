"""A printer's page that means harm to the site and to other printers, in a real browser, with the printers' domain
apart from the site's and below it (T3, T4, T5, T7)."""

import re
from urllib.parse import quote, urlencode

import pytest
from conftest import make_directory

from harness import paths
from harness.agent import Agent
from harness.pages_printer import Page, PagesPrinter
from harness.process import free_port
from harness.service import Service
from harness.site import hostile_texts, watch_context
from harness.tls import make_tls

OWNER = "ada@example.org"
PASSWORD = "correct horse battery"
SITE = "spoolway.localhost"
# Below the site's name a printer's page is same-site with it to a browser; below a name of its own it is not.
APART = "printers.localhost"
# Cookies of the site and what a printer would like them to be.
COOKIES = ("__Host-spoolway_session", "__Host-spoolway_visit", "spoolway_session", "spoolway_visit")
EVIL = "A" * 32


class World:
    """A service, and an owner with a good and a hostile printer, whose browser is signed in."""

    def __init__(self, directory, printers_domain: str):
        tls = make_tls(directory / "tls", ("localhost", SITE, f"*.{SITE}", f"*.{APART}"))
        self.service = Service(make_directory(directory, "service"), tls=tls)
        self.service.port = free_port()
        self.service.environment = {
            "SPOOLWAY_DOMAIN": f"{SITE}:{self.service.port}",
            "SPOOLWAY_PRINTERS_DOMAIN": f"{printers_domain}:{self.service.port}",
        }
        self.printers_domain = printers_domain
        self.directory = directory
        self.started = []

    def start(self) -> "World":
        self.service.start()
        self.service.admin("user", "add", OWNER, "--password-stdin", stdin=PASSWORD)
        self.hostile, self.hostile_id = self.add_printer("Hostile")
        self.good, self.good_id = self.add_printer("Good")
        return self

    def use(self, browser) -> "World":
        """With a browser that knows nothing yet but its owner's password."""
        self.context = browser.new_context(ignore_https_errors=True)
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.sign_in()
        return self

    def add_printer(self, name: str):
        printer = PagesPrinter().start()
        self.started.append(printer)
        printer.pages["/"] = Page(f"<h1>{name}</h1>")
        known = self.service.add_printer(OWNER, name)
        self.started.append(Agent(self.directory / name.lower(), known, printer.url).start())
        return printer, known.id

    def sign_in(self):
        self.page.goto(f"{self.service.origin}/sign-in")
        self.page.fill("#email", OWNER)
        self.page.fill("#password", PASSWORD)
        self.page.click("main button.primary")
        self.page.wait_for_url("**/printers")

    def open_interface(self, printer_id: str) -> str:
        """Opens a printer's own host as its owner, and gives its address."""
        self.page.goto(f"{self.service.origin}/view/{printer_id}")
        self.page.click("text=Open the full interface")
        self.page.wait_for_url(re.compile(rf"^https://p-\w+\.{re.escape(self.printers_domain)}:"))
        return self.page.url.rstrip("/")

    def is_signed_in(self) -> bool:
        answer = self.page.goto(f"{self.service.origin}/printers")
        return answer.status == 200 and "Hostile" in self.page.inner_text("main")

    def use_the_site(self):
        """Sends one of the site's own forms, which needs session and token."""
        self.page.goto(f"{self.service.origin}/printers/{self.good_id}/settings")
        form = self.page.locator("form[action$='/rename']")
        form.locator("input[name=name]").fill("Renamed")
        form.locator("button").click()
        self.page.wait_for_load_state()
        assert "Renamed" in self.page.goto(f"{self.service.origin}/printers").text()

    def close(self):
        for thing in reversed(self.started):
            thing.close()
        self.service.close()


@pytest.fixture(scope="module", params=[SITE, APART], ids=["together", "apart"])
def stage(request, tmp_path_factory):
    one = World(tmp_path_factory.mktemp("hostile"), request.param)
    try:
        yield one.start()
    finally:
        one.close()


@pytest.fixture
def world(stage, browser):
    try:
        yield stage.use(browser)
    finally:
        stage.context.close()


def test_a_printers_cookies_do_not_reach_the_site(world):
    """T3: by header and by script, for its own host and for all that it may name."""
    domains = ("", f"; Domain={SITE}", f"; Domain=.{SITE}", f"; Domain={APART}", "; Domain=localhost")
    world.hostile.pages["/toss"] = Page(
        "<h1>tossed</h1>",
        headers=[
            ("Set-Cookie", f"{name}={EVIL}; Path=/; Secure{domain}") for name in COOKIES for domain in domains
        ],
    )
    inside = world.open_interface(world.hostile_id)
    world.page.goto(inside + "/toss")
    script = """([names, domains, value]) => {
      for (const name of names) for (const domain of domains) for (const path of ['/', '/settings', '/sign-in'])
        document.cookie = `${name}=${value}; Path=${path}; Secure${domain}`;
    }"""
    world.page.evaluate(script, [COOKIES, domains, EVIL])
    kept = {(cookie["name"], cookie["domain"]) for cookie in world.context.cookies() if cookie["value"] == EVIL}
    # Nobody but the site itself can set the cookies that count; what `Domain` would widen stays at the printer's host.
    assert not {name for name, domain in kept if name.startswith("__Host-") and not domain.startswith("p-")}
    assert world.is_signed_in()
    world.use_the_site()
    # Without a session the browser's own token is what a printer would fix beforehand.
    world.page.click("header button.link")
    world.page.wait_for_url(f"{world.service.origin}/")
    world.page.goto(inside + "/")
    world.sign_in()
    world.use_the_site()
    session = next(cookie for cookie in world.context.cookies() if cookie["name"] == COOKIES[0] and cookie["domain"] == SITE)
    assert session["value"] != EVIL and session["httpOnly"] and session["secure"]


def test_a_flood_of_cookies_is_stopped_or_harmless(world):
    """T3: by header a printer sets a few at its own host. By script it fills what the browser keeps for the registrable
    domain, which only a domain apart keeps away from the site."""
    flood = [("Set-Cookie", f"bomb{number}={'x' * 3000}; Domain={SITE}; Path=/; Secure") for number in range(60)]
    world.hostile.pages["/flood"] = Page("<h1>flooded</h1>", headers=flood)
    inside = world.open_interface(world.hostile_id)
    world.page.goto(inside + "/flood")
    bombs = [cookie for cookie in world.context.cookies() if cookie["name"].startswith("bomb")]
    assert len(bombs) <= 40 and all(cookie["domain"].startswith("p-") for cookie in bombs)
    assert world.is_signed_in()
    if world.printers_domain == APART:
        script = """(site) => {
          for (let number = 0; number < 300; number++)
            for (const domain of [site, 'printers.localhost'])
              document.cookie = `flood${number}=${'x'.repeat(3000)}; Domain=${domain}; Path=/; Secure`;
        }"""
        world.page.goto(inside + "/")
        world.page.evaluate(script, SITE)
        sent = world.context.cookies(world.service.origin)
        assert not [cookie for cookie in sent if cookie["name"].startswith(("flood", "bomb"))]
        assert world.is_signed_in()
        world.use_the_site()


def posted_routes() -> list[str]:
    """Every route of the site that takes a POST, from its one router file; those of programs have no cookies to abuse."""
    source = (paths.REPOSITORY / "crates/web/src/router.rs").read_text()
    routes = [path for path, answers in re.findall(r'\.route\("([^"]+)", ([^\n]+)\)', source) if "post(" in answers]
    assert len(routes) > 30
    return [path for path in routes if not path.startswith("/api/")] + ["/appportal/v1/decision"]


def test_a_printers_page_cannot_send_the_sites_forms(world):
    """T4: every route that changes something, by a form as a navigation and by a script with the browser's cookies."""
    before = [world.service.admin("user", "list"), world.service.admin("printer", "list")]
    inside = world.open_interface(world.hostile_id)
    world.page.goto(inside + "/")
    submit = """(url) => {
      const form = document.createElement('form');
      form.method = 'post'; form.action = url;
      for (const name of ['form-token', 'form_token', 'name', 'email', 'password', 'command', 'confirm'])
        form.append(Object.assign(document.createElement('input'), { name, value: 'pause' }));
      document.body.append(form); form.submit();
    }"""
    fetch = """(url) => fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: 'name=x&command=cancel' })
      .then((answer) => answer.type, (error) => 'refused')"""
    answers = {}
    for route in posted_routes():
        url = world.service.origin + re.sub(r"\{\w+\}", world.good_id, route)
        read = world.page.evaluate(fetch, url)
        assert read in ("opaque", "refused"), f"{route} let itself be read: {read}"
        with world.page.expect_navigation() as navigation:
            world.page.evaluate(submit, url)
        answers[route] = navigation.value.status
        world.page.goto(inside + "/")
    unexpected = {route: status for route, status in answers.items() if status != 403}
    assert not unexpected, unexpected
    assert [world.service.admin("user", "list"), world.service.admin("printer", "list")] == before
    assert world.is_signed_in()


def test_a_printers_page_cannot_listen_in(world):
    """T5: WebSockets to another printer as its owner, and the site's live updates."""
    good = world.open_interface(world.good_id)
    hostile = world.open_interface(world.hostile_id)
    world.page.goto(hostile + "/")
    open_socket = """(url) => new Promise((resolve) => {
      const socket = new WebSocket(url);
      socket.onopen = () => resolve('opened');
      socket.onerror = () => resolve('refused');
    })"""
    asked = len(world.good.asked)
    assert world.page.evaluate(open_socket, good.replace("https:", "wss:") + "/socket") == "refused"
    read = """(url) => fetch(url, { credentials: 'include' }).then(() => 'read', () => 'refused')"""
    for url in (good + "/", f"{world.service.origin}/printers/events", f"{world.service.origin}/printers"):
        assert world.page.evaluate(read, url) == "refused", url
    listen = """(url) => new Promise((resolve) => {
      const events = new EventSource(url, { withCredentials: true });
      events.onmessage = events.onopen = () => resolve('heard');
      events.onerror = () => { events.close(); resolve('refused'); };
    })"""
    for path in ("/printers/events", f"/printers/{world.good_id}/events"):
        assert world.page.evaluate(listen, world.service.origin + path) == "refused", path
    frame = """(url) => new Promise((resolve) => {
      const frame = Object.assign(document.createElement('iframe'), { src: url });
      frame.onload = () => { try { resolve(frame.contentDocument.body.innerText); } catch { resolve('foreign'); } };
      document.body.append(frame);
    })"""
    assert "Renamed" not in world.page.evaluate(frame, f"{world.service.origin}/printers")
    # The agent asks for what the printer does, at paths of its own.
    assert not {"/", "/socket"} & set(world.good.asked[asked:]), "something reached the printer"
    # The printer's own page can.
    world.page.goto(good + "/")
    assert world.page.evaluate(read, good + "/") == "read"
    assert "/" in world.good.asked[asked:]


def test_texts_of_strangers_run_nowhere_on_printers_hosts(world):
    """T7: the pages of ours that share a host with a printer's; the site's own are tried in `test_texts.py`."""
    violations = []
    watch_context(world.context, violations)
    for number, text in enumerate(hostile_texts()[:8]):
        name = f"x{number}{text}"[:60].replace("\0", "")
        world.service.admin("printer", "rename", world.good_id, name)
        shared = world.service.admin("shared-connection", "create", "--printer", world.good_id)
        answer = world.page.goto(shared["url"] + "/?" + urlencode({"said": text}))
        assert answer.status == 200 and f"x{number}" in world.page.inner_text("h1")
        assert world.page.locator("main :not(p, h1, form, input, button)").count() == 0
        world.page.goto(shared["url"].replace("shared-", "app-") + "/" + quote(text))
        assert "603" in world.page.inner_text("main") and world.page.locator("img, script").count() == 0
    assert violations == []
