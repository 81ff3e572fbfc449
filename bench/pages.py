"""`make bench-pages`: what the site's pages weigh, and how soon they can be used on a slow phone.

Chromium loads each page with an empty cache and its processor slowed down four times, beside an empty page from a
plain server in the same run: what that one takes is the browser's own and nobody can be below it.

A page is interactive (https://web.dev/articles/tti) when it shows something, its scripts have run, and no task of
more than 50 ms keeps it from answering; here a second must pass without such a task. Its events stay open and do not
count as loading.
"""

import argparse
import http.server
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "e2e"))

from playwright.sync_api import sync_playwright  # noqa: E402

from harness import paths  # noqa: E402
from harness.agent import Agent  # noqa: E402
from harness.process import wait_for  # noqa: E402
from harness.service import Service  # noqa: E402

SLOWER = 4
QUIET_MS = 1000
N_PRINTERS = 12
PASSWORD = "correct horse battery"
OWNER = "owner@example.com"
PHONE = {"width": 360, "height": 740}
# What the figures have to be.
MAX_FIRST_PAGE = 100 * 1024
MAX_INTERACTIVE_MS = 1000

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
CHROMIUM += ["--disable-component-update", "--disable-sync"]

WATCH = """
window.__tasks = [];
new PerformanceObserver(list => {
    for (const task of list.getEntries()) window.__tasks.push(task.startTime + task.duration);
}).observe({type: "longtask", buffered: true});
"""

# Milliseconds from the start of the navigation, once the page has been quiet for long enough; else null.
INTERACTIVE = """quiet => {
    const navigation = performance.getEntriesByType("navigation")[0];
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    if (!paint || !navigation.domContentLoadedEventEnd) return null;
    const at = Math.max(paint.startTime, navigation.domContentLoadedEventEnd, ...window.__tasks);
    return performance.now() - at < quiet ? null : {at, painted: paint.startTime};
}"""


class EmptyPage:
    """The floor: a page with one word, from a server that does nothing else."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = b"<!doctype html><title>Empty</title><p>Empty"
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


def measure(browser, url: str, cookies) -> dict:
    context = browser.new_context(viewport=PHONE)
    context.add_cookies(cookies)
    page = context.new_page()
    page.add_init_script(WATCH)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    # Bytes as they came over the wire, heads too. Events and pictures go on for ever, so what came until the page
    # could be used is what counts; the head of a response counts when it comes.
    received = {"bytes": 0, "requests": 0}

    def count(event):
        received["bytes"] += max(event.get("encodedDataLength", 0), 0)

    def count_head(event):
        received["requests"] += 1
        received["bytes"] += max(event["response"].get("encodedDataLength", 0), 0)

    session.on("Network.dataReceived", count)
    session.on("Network.responseReceived", count_head)
    response = page.goto(url, wait_until="domcontentloaded")
    assert response.status == 200, f"{url}: {response.status}"
    assert urlpath(page.url) == urlpath(url), f"{url} led to {page.url}"
    handle = page.wait_for_function(INTERACTIVE, arg=QUIET_MS, timeout=30_000, polling=100)
    found = handle.json_value()
    context.close()
    return {"interactive": found["at"], "painted": found["painted"], **received}


def urlpath(url: str) -> str:
    return url.split("://", 1)[1].split("/", 1)[1]


def sign_in(browser, service) -> list:
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    page.goto(f"{service.origin}/sign-in")
    page.fill("#email", OWNER)
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/printers")
    cookies = context.cookies()
    context.close()
    return cookies


def run(rounds: int) -> list[dict]:
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        directory = Path(directory)
        service = Service(directory)
        service.start()
        agent = None
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        try:
            service.admin("user", "add", OWNER, "--password-stdin", stdin=PASSWORD)
            printers = [service.add_printer(OWNER, f"Printer {n}") for n in range(N_PRINTERS)]
            (directory / "agent").mkdir()
            agent = Agent(directory / "agent", printers[0], None)
            agent.start()
            cookies = sign_in(browser, service)
            pages = [
                ("empty page (floor)", EmptyPage().url, []),
                ("start page, signed out", f"{service.origin}/", []),
                ("sign-in", f"{service.origin}/sign-in", []),
                (f"printers, {N_PRINTERS} of them", f"{service.origin}/printers", cookies),
            ]
            samples = {name: [] for name, _, _ in pages}
            for round in range(rounds + 1):
                # Another one begins each time, so that a slow change of the machine hits all alike.
                for name, url, jar in pages[round % len(pages):] + pages[: round % len(pages)]:
                    print(f"measuring {name}, round {round}", file=sys.stderr)
                    sample = measure(browser, url, jar)
                    # The first round warms up the browser and the service.
                    if round > 0:
                        samples[name].append(sample)
            return [
                {"page": name, **{key: statistics.median(s[key] for s in samples[name]) for key in samples[name][0]}}
                for name, _, _ in pages
            ]
        finally:
            browser.close()
            if agent:
                agent.close()
            service.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each page is loaded; the median counts")
    parser.add_argument("--check", action="store_true", help="fail when a page is heavier or slower than it may be")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results/pages.json")
    arguments = parser.parse_args()
    rows = run(arguments.rounds)
    version = subprocess.run(["/usr/bin/chromium", "--version"], capture_output=True, text=True).stdout.strip()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"browser": version, "cpuSlowerBy": SLOWER, "rounds": arguments.rounds, "pages": rows}
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\n| page | transferred, KiB | responses | first paint, ms | interactive, ms |\n|---|---:|---:|---:|---:|")
    for row in rows:
        kib = row["bytes"] / 1024
        print(f"| {row['page']} | {kib:.1f} | {row['requests']:.0f} | {row['painted']:.0f} | {row['interactive']:.0f} |")
    print(f"\n{version}, processor slowed down {SLOWER} times, empty cache, median of {arguments.rounds}")
    print(f"results in {arguments.output}")
    start, printers = rows[1], rows[-1]
    is_good = start["bytes"] <= MAX_FIRST_PAGE and printers["interactive"] <= MAX_INTERACTIVE_MS
    return 1 if arguments.check and not is_good else 0


if __name__ == "__main__":
    sys.exit(main())
