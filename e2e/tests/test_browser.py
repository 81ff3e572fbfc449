"""What a person, and a page of another origin, see in a real browser."""

import functools
import http.server
import threading

import pytest
from conftest import OWNER

from harness import paths
from harness.visits import open_shared

PHONE = {"width": 360, "height": 740}
CODES = range(600, 614)


@pytest.fixture
def phone(browser):
    context = browser.new_context(viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
    yield context.new_page()
    context.close()


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_error_pages_are_readable_on_a_phone(service, phone, artifacts):
    site = service.site().url
    phone.goto(f"{site}/errors")
    assert fits(phone)
    phone.screenshot(path=artifacts / "errors-360.png", full_page=True)
    overview = phone.inner_text("body")
    for code in CODES:
        assert str(code) in overview
        response = phone.goto(f"{site}/errors/{code}")
        assert response.status == 200
        assert fits(phone), code
        assert str(code) in phone.inner_text("main")
        size = phone.evaluate("parseFloat(getComputedStyle(document.querySelector('main p, p')).fontSize)")
        assert size >= 14, code
        if code in (601, 606):
            phone.screenshot(path=artifacts / f"error-{code}-360.png", full_page=True)
    assert phone.goto(f"{site}/errors/614").status == 404


def test_a_person_gets_a_page_for_an_error(service, phone, artifacts):
    printer = service.add_printer(OWNER, "Never connected")
    shared = printer.shared()
    response = open_shared(phone, shared.url + "/")
    assert response.status == 601 and response.headers["x-spoolway-error"] == "601"
    assert response.headers["content-type"].startswith("text/html")
    assert "601" in phone.inner_text("body") and fits(phone)
    assert phone.locator("a[href$='/errors/601']").count() == 1
    phone.screenshot(path=artifacts / "offline-360.png")


def test_an_open_link_says_first_whose_printer_it_is(echo_agent, phone, artifacts):
    shared = echo_agent.printer.shared()
    # Programs do not meet it, whatever they say that they take.
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert shared.get("/echo/page", headers).expect(200).json()["path"] == "/echo/page"
    answer = phone.goto(shared.url + "/echo/page?kept=1")
    assert answer.status == 200 and fits(phone)
    told = phone.inner_text("main")
    assert "Echo" in told and "localhost" in told and OWNER not in told
    phone.screenshot(path=artifacts / "notice-360.png")
    # It can be used without a mouse.
    phone.keyboard.press("Enter")
    phone.wait_for_url("**/echo/page?kept=1")
    seen = phone.inner_text("body")
    assert "/echo/page?kept=1" in seen and "spoolway_notice" not in seen
    (cookie,) = phone.context.cookies()
    assert cookie["httpOnly"] and cookie["domain"] == shared.host.split(":")[0]
    # Once it was seen, it is not shown again, but every printer has its own.
    phone.goto(shared.url + "/echo/other")
    assert "/echo/other" in phone.inner_text("body")
    phone.goto(echo_agent.printer.shared().url + "/echo/page")
    assert "/.spoolway/notice" in phone.url


def test_a_password_opens_a_shared_connection(echo_agent, phone, artifacts):
    shared = echo_agent.printer.shared(password="right one")
    response = phone.goto(shared.url + "/echo/page?kept=1")
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers.get("x-spoolway-error") in (None, "606")
    assert fits(phone)
    phone.screenshot(path=artifacts / "password-360.png")

    phone.fill("input[type=password]", "wrong one")
    phone.press("input[type=password]", "Enter")
    phone.wait_for_selector("input[type=password]")
    phone.fill("input[type=password]", "right one")
    phone.press("input[type=password]", "Enter")
    # Back where the visitor wanted to go, with what was asked for.
    phone.wait_for_url("**/echo/page?kept=1")
    seen = phone.inner_text("body")
    assert "/echo/page?kept=1" in seen
    # The cookie that proves it is for this host only, out of reach of scripts, and never shown to the printer.
    cookies = phone.context.cookies()
    assert len(cookies) == 1 and cookies[0]["httpOnly"] and cookies[0]["sameSite"] in ("Lax", "Strict")
    assert cookies[0]["domain"] == shared.host.split(":")[0]
    assert cookies[0]["value"] not in seen and "right one" not in seen
    # It opens nothing else.
    other = echo_agent.printer.shared(password="right one")
    assert other.get("/echo", {"Cookie": f"{cookies[0]['name']}={cookies[0]['value']}"}).status == 606


def test_a_page_of_another_origin_can_use_a_connection_and_read_errors(service, echo_agent, page, elsewhere):
    app = echo_agent.printer.app()
    offline = service.add_printer(OWNER, "Never connected").app()
    page.goto(elsewhere + "/empty.html")
    fetch = """async ([url, headers]) => {
        const response = await fetch(url, { headers });
        const told = ['X-Spoolway-Error', 'Retry-After'].map((name) => response.headers.get(name));
        return [response.status, ...told, await response.text()];
    }"""
    # A header that needs a preflight, which carries no credentials.
    for plain in (False, True):
        headers = {**offline.authorization(), **({"X-Spoolway-Plain-Status": "1"} if plain else {})}
        status, code, retry_after, body = page.evaluate(fetch, [offline.url + "/echo", headers])
        assert (status, code) == (503 if plain else 601, "601")
        assert int(retry_after) > 0 and '"printer_offline"' in body
    status, code, _, _ = page.evaluate(fetch, [app.url + "/echo", {"Authorization": "Bearer wrong"}])
    assert (status, code) == (606, "606")


def test_a_preflight_is_never_606(echo_agent):
    app = echo_agent.printer.app()
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = app.anonymous().request("OPTIONS", "/echo", headers)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()


@pytest.fixture
def elsewhere():
    """A page of an origin that has nothing to do with the service."""
    handler = functools.partial(QuietHandler, directory=str(paths.PAGES))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
