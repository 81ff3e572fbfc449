"""What a printer's page leaves in a browser does not outlive the way to the printer (T13)."""

import pytest
from conftest import OWNER

from harness.agent import Agent
from harness.pages_printer import Page, PagesPrinter
from harness.process import wait_for
from harness.visits import open_shared

# Answers everything by itself, so that no page of the host comes from the network again, and does not let go.
WORKER = """
addEventListener('install', (event) => { skipWaiting(); });
addEventListener('activate', (event) => { event.waitUntil(clients.claim()); });
addEventListener('fetch', (event) => {
  event.respondWith(new Response('<p id="by">the worker</p>', { headers: { 'Content-Type': 'text/html' } }));
});
"""
REGISTERS = """<p id="by">the printer</p><script>
  localStorage.setItem('left', 'behind');
  navigator.serviceWorker.register('/worker.js', OPTIONS).then(() => navigator.serviceWorker.ready)
    .then(() => { document.title = 'registered'; }, (error) => { document.title = 'refused: ' + error.message; });
</script>"""


@pytest.fixture
def hostile(service, tmp_path):
    """A printer with a page that wants to stay, behind an agent."""
    printer = PagesPrinter().start()
    known = service.add_printer(OWNER, "Clinging")
    agent = Agent(tmp_path / "agent", known, printer.url).start()
    printer.known = known
    yield printer
    agent.close()
    printer.close()


def gone(page) -> bool:
    """Loads the page again, and tells whether the service's own page is there."""
    page.reload()
    return "604" in page.inner_text("body") and page.locator("#by").count() == 0


@pytest.mark.parametrize("lasting", [False, True], ids=["an ordinary worker", "a worker that wants to be kept"])
def test_a_worker_ends_with_the_link(service, hostile, page, lasting):
    options = "{ updateViaCache: 'all' }" if lasting else "{}"
    cached = [("Cache-Control", "public, max-age=31536000, immutable")] if lasting else []
    hostile.pages = {
        "/": Page(REGISTERS.replace("OPTIONS", options), headers=cached),
        "/worker.js": Page(WORKER, "text/javascript", headers=cached),
    }
    shared = hostile.known.shared()
    open_shared(page, shared.url + "/")
    page.wait_for_function("document.title !== ''")
    assert page.title() == "registered"
    page.reload()
    assert page.inner_text("#by") == "the worker", "it does not do what it is here for"
    service.admin("shared-connection", "revoke", shared.connection["id"])
    wait_for(lambda: shared.get("/").status == 604, 10, "the link has ended")
    # Not at once: the browser looks for a newer worker a second after a page was loaded, and begins to wait anew with
    # each that is loaded meanwhile.
    wait_for(lambda: gone(page), 40, "our own page", interval=3)
    assert page.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)") == 0
    assert page.evaluate("localStorage.length") == 0
