"""What the service sends by mail, through a real server: proofs of an address, new passwords, invitations."""

import pytest
from conftest import make_directory

from harness.mail import MailServer
from harness.process import wait_for
from harness.service import Service
from harness.site import EMAIL, PASSWORD, set_up, sign_in

NEW_PASSWORD = "another horse battery"
# Those that a mail has; one that somebody slipped in would be more.
HEADERS = {"from", "to", "subject", "date", "content-type", "content-transfer-encoding", "mime-version"}


@pytest.fixture
def mail():
    server = MailServer().start()
    yield server
    server.close()


@pytest.fixture
def mailing(tmp_path, mail):
    """A service that sends mail, and that nobody has set up yet."""
    service = Service(make_directory(tmp_path, "service"))
    service.environment |= {"SPOOLWAY_SIGN_UP": "invitation", **mail.environment}
    try:
        yield service.start()
    finally:
        service.close()


def check(one, service, to: str):
    assert one.sender == "printers@example.org" and one.recipients == [to]
    assert {name.lower() for name in one.message.keys()} <= HEADERS
    assert one.message["to"] == to and one.message.get_content_type() == "text/plain"
    assert one.link().startswith(service.origin + "/")


def can_sign_in(browser, service, password: str) -> bool:
    """In a browser of its own."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{service.origin}/sign-in")
    page.fill("#email", EMAIL)
    page.fill("#password", password)
    with page.expect_navigation():
        page.click("form[action='/sign-in'] button.primary")
    signed_in = page.url.endswith("/printers")
    context.close()
    return signed_in


def test_an_address_is_proved_and_a_password_replaced(mailing, mail, browser, page):
    service = mailing
    set_up(service, page)
    proof = mail.next(EMAIL)
    check(proof, service, EMAIL)
    # A scanner of mails may open it, in another browser; it says nothing but whose the address is.
    page.goto(f"{service.origin}/settings")
    assert page.locator("form[action='/settings/verify-email']").count() == 1
    page.goto(proof.link())
    page.wait_for_url("**/settings?said=email-verified")
    assert page.locator("form[action='/settings/verify-email']").count() == 0
    again = page.goto(proof.link())
    assert again.status == 400 and "was used" in page.inner_text("main")

    stranger = browser.new_context().new_page()
    said = []
    for address in ("nobody@example.org", EMAIL):
        stranger.goto(f"{service.origin}/reset-password")
        stranger.fill("#email", address)
        stranger.click("form[action='/reset-password'] button.primary")
        stranger.wait_for_selector("text=a mail with a link is on its way")
        said.append(stranger.inner_text("main"))
    assert said[0] == said[1], "it tells which addresses have an account"
    reset = mail.next(EMAIL)
    check(reset, service, EMAIL)
    assert not mail.mails, "somebody without an account got mail"
    stranger.goto(reset.link())
    stranger.fill("#password", NEW_PASSWORD)
    stranger.click("button.primary")
    stranger.wait_for_url("**/sign-in")
    # The link has worked once, and every browser is signed out.
    assert stranger.goto(reset.link()).status == 400

    def is_out() -> bool:
        page.goto(f"{service.origin}/printers")
        return "/sign-in" in page.url

    wait_for(is_out, 10, "the sign-in of before has ended")
    assert not can_sign_in(browser, service, PASSWORD)
    assert can_sign_in(browser, service, NEW_PASSWORD)
    stranger.context.close()


def test_an_invitation_comes_by_mail_and_is_its_addressees(mailing, mail, browser, page):
    service = mailing
    set_up(service, page)
    mail.next(EMAIL)
    page.goto(f"{service.origin}/admin/invitations")
    page.fill("#email", "guest@example.org")
    page.click("form[action='/admin/invitations'] button.primary")
    page.wait_for_selector("#invitation")
    invitation = mail.next("guest@example.org")
    check(invitation, service, "guest@example.org")
    assert invitation.link() == page.inner_text("#invitation").strip()

    context = browser.new_context()
    guest = context.new_page()
    guest.goto(invitation.link())
    assert guest.locator("#email").get_attribute("readonly") is not None
    assert guest.input_value("#email") == "guest@example.org"
    guest.fill("#password", PASSWORD)
    guest.click("button.primary")
    guest.wait_for_url("**/printers")
    context.close()
    assert {user["email"] for user in service.admin("user", "list")} == {EMAIL, "guest@example.org"}
    other = browser.new_context()
    late = other.new_page()
    late.goto(invitation.link())
    assert late.locator("#password").count() == 0
    other.close()


def test_a_mail_server_that_is_gone_fails_nothing_else(mailing, mail, browser, page):
    service = mailing
    set_up(service, page)
    mail.next(EMAIL)
    mail.close()
    try:
        page.goto(f"{service.origin}/settings")
        page.click("form[action='/settings/verify-email'] button")
        page.wait_for_url("**/settings?said=mail-sent")
        wait_for(lambda: "a mail was not sent" in service.log.read_text(), 30, "the log says it")
        assert EMAIL not in service.log.read_text(), "whom it was for is nobody's business"
        second = browser.new_context().new_page()
        sign_in(service, second)
        second.context.close()
    finally:
        mail.controller = MailServer().controller
        mail.controller.start()
