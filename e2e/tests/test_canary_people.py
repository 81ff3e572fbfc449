"""No secret of people is left behind (T37): those that a browser, an app or a mail carries, searched for afterwards in
what service and agent have written.

Passkeys are left out: their secret never leaves the authenticator.
"""

import base64
import re
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from conftest import make_directory

from harness.agent import Agent
from harness.canary import expect_nowhere, occurs
from harness.mail import MailServer
from harness.process import wait_for
from harness.service import Service
from harness.site import EMAIL, PASSWORD, set_up, totp

# In clear by design: whoever made a link may look it up again.
KEPT_IN_CLEAR = "live link"


@pytest.fixture
def mail():
    server = MailServer().start()
    yield server
    server.close()


@pytest.fixture
def loud(tmp_path, mail):
    """A service that sends mail and logs all that it can."""
    service = Service(make_directory(tmp_path, "service"), log_filter="trace")
    service.environment |= mail.environment
    try:
        yield service.start()
    finally:
        service.close()


class Carried:
    """Notes what a browser sends and gets that opens something."""

    def __init__(self, context):
        self.secrets: dict[str, str] = {}
        context.on("request", lambda request: self.read(request.url))

    def read(self, url: str):
        for name in ("token", "ticket", "octoPrintApiKey", "appApiToken", "authBearerToken", "authBasicHttpPassword"):
            for value in parse_qs(urlsplit(url).query).get(name, []):
                self.secrets[f"{name} of {urlsplit(url).path}"] = value

    def read_cookies(self, context, when: str):
        for cookie in context.cookies():
            # A cookie that only says that something was seen is the same for everybody.
            if len(cookie["value"]) >= 20:
                self.secrets[f"cookie {cookie['name']} {when}"] = cookie["value"]


def test_no_secret_of_people_is_written_anywhere(loud, mail, browser, tmp_path):
    service = loud
    context = browser.new_context()
    context.set_default_timeout(60_000)
    carried = Carried(context)
    page = context.new_page()
    set_up(service, page)
    carried.read_cookies(context, "after the setup")
    marked: dict[str, str | bytes] = {}
    printer = service.add_printer(EMAIL, "Virtual")
    agent = Agent(tmp_path / "agent", printer, None, log_filter="trace").start()
    try:
        for to, link in ((EMAIL, f"{service.origin}/settings"), ("guest@example.org", None)):
            if link is None:
                page.goto(f"{service.origin}/admin/invitations")
                page.fill("#email", to)
                page.click("form[action='/admin/invitations'] button.primary")
                page.wait_for_selector("#invitation")
            page.goto(mail.next(to).link())

        page.goto(f"{service.origin}/settings")
        page.fill("#totp-on", PASSWORD)
        page.click("form[action='/settings/totp/start'] button")
        secret = page.inner_text("#secret").strip()
        marked["secret of one-time codes, as it is shown"] = secret
        marked["secret of one-time codes, as it is"] = base64.b32decode(secret + "=" * (-len(secret) % 8))
        page.fill("#code", totp(secret))
        page.click("button.primary")
        for number, code in enumerate(page.inner_text("#codes").split()):
            marked[f"recovery code {number}"] = code.replace("-", "")
            marked[f"recovery code {number}, as it is shown"] = code

        page.goto(f"{service.origin}/view/{printer.id}")
        page.click("text=Open the full interface")
        page.wait_for_url(re.compile(r"^http://p-"))
        carried.read_cookies(context, "in the owner's view")

        back = "http://127.0.0.1:9/back"
        page.goto(
            f"{service.origin}/appportal/v1?appId=canary&octoPrintApiKeyAppName=Canary"
            f"&printerId={printer.id}&returnUrl={quote(back, safe='')}"
        )
        through_portal(page, back)
        wait_for(lambda: "appApiToken of /back" in carried.secrets, 30, "the app has its keys")
        # Nobody listens there, and the browser goes on to say so; it goes on in another window.
        page = context.new_page()
        app_token = carried.secrets["appApiToken of /back"]
        site = service.site()
        for headers, body in (({"AppToken": app_token}, {}), ({}, {"AppToken": app_token})):
            made = site.post_json("/api/live/createfromappconnection", {**body, "ExpirationHours": 1}, headers)
            live = made.expect(200).json()["Result"]["Url"]
            marked[KEPT_IN_CLEAR + (" by header" if headers else " by body")] = live.rsplit("/", 1)[1]
            page.goto(live)
        page.goto(f"{service.origin}/live/{'A' * 32}")

        page.goto(f"{service.origin}/reset-password")
        page.fill("#email", EMAIL)
        page.click("form[action='/reset-password'] button.primary")
        page.goto(mail.next(EMAIL).link())
        carried.read_cookies(context, "before the new password")
        page.fill("#password", "another horse battery")
        page.click("button.primary")
        page.wait_for_url("**/sign-in")

        marked |= carried.secrets
        expected = {"token of /setup", "token of /verify-email", "token of /sign-up", "token of /reset-password/set"}
        expected |= {"ticket of /.spoolway/enter", "cookie spoolway_session after the setup"}
        expected |= {"appApiToken of /back", "cookie __spoolway_owner in the owner's view"}
        assert expected <= set(marked), expected - set(marked)
        limits = open(f"/proc/{service.process.pid}/limits").read()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.M), "a crash would write its memory to a file"

        places = {"metrics": service.metrics().encode()}
        files = [service.log, agent.log, *service.data.rglob("*"), *tmp_path.glob("agent/**/spool/**/*")]
        places |= {str(file): file.read_bytes() for file in files if file.is_file()}
        output = [line for line in service.process.lines if "/setup?token=" not in line] + agent.process.lines
        places["standard output"] = "\n".join(output).encode()
        assert len(places[str(service.log)]) > 10_000, "the log says too little to prove anything"
    finally:
        agent.close()
        context.close()
    database = str(service.data / "spoolway.db")
    kept = {name: secret for name, secret in marked.items() if name.startswith(KEPT_IN_CLEAR)}
    in_database = [place for place in places if place.startswith(database)]
    assert any(occurs(next(iter(kept.values())), places[place]) for place in in_database), "the search finds nothing"
    expect_nowhere(kept, {place: text for place, text in places.items() if place not in in_database})
    expect_nowhere({name: secret for name, secret in marked.items() if name not in kept}, places)


def through_portal(page, back: str):
    """Agrees to everything until the browser is sent to the app, where nobody listens."""
    for _ in range(6):
        for box in page.locator("main input[name=trust]").all():
            box.check()
        with page.expect_request(lambda request: request.is_navigation_request()) as asked:
            page.locator("main form button.primary, main a.button.primary").first.click()
        if asked.value.url.startswith(back) or page.url.startswith(back):
            return
        page.wait_for_load_state()
        if page.locator("main form button.primary, main a.button.primary").count() == 0:
            return
