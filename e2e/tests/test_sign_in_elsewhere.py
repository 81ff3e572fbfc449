"""Signing in with another service, a real OpenID Connect provider."""

import pytest

from harness import paths
from harness.process import Process, free_port
from harness.service import Service
from test_site import DESK, EMAIL, PASSWORD, set_up, shoot


@pytest.fixture
def provided(tmp_path):
    """A service that nobody has set up yet, and the provider that it trusts."""
    (tmp_path / "service").mkdir()
    service = Service(tmp_path / "service")
    service.port = free_port()
    redirect = f"http://localhost:{service.port}/sign-in/provider/back"
    provider = Process(["node", paths.SERVERS / "oidc.mjs", redirect], tmp_path / "provider.log", cwd=paths.E2E)
    issuer = provider.wait_line(r"^issuer (\S+)$", timeout=60)[1]
    service.environment |= {
        "SPOOLWAY_SIGN_UP": "open",
        "SPOOLWAY_OIDC__NAME": "House key",
        "SPOOLWAY_OIDC__ISSUER": issuer,
        "SPOOLWAY_OIDC__CLIENT_ID": "spoolway",
        "SPOOLWAY_OIDC__CLIENT_SECRET": "a-secret-of-the-tests-and-nobody-elses",
    }
    service.start()
    yield service
    service.close()
    provider.close()


def at_the_provider(page, person: str):
    page.wait_for_selector("input[name=login]")
    page.fill("input[name=login]", person)
    page.fill("input[name=password]", "anything")
    page.click("button[type=submit]")
    page.wait_for_load_state()
    if "interaction" in page.url:
        page.click("button[type=submit]")


def test_somebody_signs_up_with_another_service(provided, browser, artifacts):
    page = browser.new_context(viewport=DESK).new_page()
    page.goto(f"{provided.origin}/sign-in")
    shoot(page, artifacts, "sign-in")
    page.click("text=Sign in with House key")
    at_the_provider(page, "grace")
    page.wait_for_url(f"{provided.origin}/printers")
    page.goto(f"{provided.origin}/settings")
    assert "grace@example.org" in page.inner_text("main") and "confirmed" in page.inner_text("main")


def test_an_account_is_not_taken_over_by_its_address(provided, browser):
    owner = browser.new_context(viewport=DESK).new_page()
    set_up(provided, owner)
    stranger = browser.new_context(viewport=DESK).new_page()
    stranger.goto(f"{provided.origin}/sign-in")
    stranger.click("text=Sign in with House key")
    at_the_provider(stranger, EMAIL.split("@")[0])
    stranger.wait_for_load_state()
    assert "link the other sign-in in its settings" in stranger.inner_text("main")
    # The owner links the two, and gets in either way from then on.
    owner.goto(f"{provided.origin}/settings")
    owner.click("text=Link my sign-in with House key")
    at_the_provider(owner, EMAIL.split("@")[0])
    owner.wait_for_url("**/settings?said=identity")
    stranger.goto(f"{provided.origin}/sign-in")
    stranger.click("text=Sign in with House key")
    stranger.wait_for_url(f"{provided.origin}/printers")


def test_an_unconfirmed_address_makes_no_account(provided, browser):
    page = browser.new_context(viewport=DESK).new_page()
    page.goto(f"{provided.origin}/sign-in")
    page.click("text=Sign in with House key")
    at_the_provider(page, "mallory")
    page.wait_for_load_state()
    assert "does not confirm" in page.inner_text("main")
    assert PASSWORD not in page.content()
