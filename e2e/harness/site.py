"""The service's own pages, as a person uses them and as a test watches them."""

import base64
import hashlib
import hmac
import re
import struct
import time

from . import paths

EMAIL = "ada@example.org"
PASSWORD = "correct horse battery"
# What would show a foreign text that became part of a page: its script speaks, or its policy stops it.
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", event =>
    console.error(`Content Security Policy: ${event.violatedDirective} of ${event.blockedURI} in ${location.pathname}`))
"""
# Elements and the names of their attributes, but for those that the page's own scripts give and take.
STRUCTURE = """() => [...document.querySelectorAll("*")].map(element => {
    const names = [...element.attributes].map(one => one.name).filter(name => !["hidden", "class"].includes(name));
    return element.tagName + " " + names.sort().join(" ");
}).sort()
"""


def watch_policy(page, violations: list[str]):
    """Collects what a page's policy stopped, and dialogs that the site does not open: it asks, and never tells."""
    page.on("console", lambda line: "Content Security Policy" in line.text and violations.append(line.text))
    page.on("dialog", lambda dialog: answer(dialog, violations))


def watch_context(context, violations: list[str]):
    """The same for all pages of a context, each of which reports by itself what its policy stopped."""
    context.add_init_script(REPORT_VIOLATIONS)
    context.on("page", lambda page: watch_policy(page, violations))


def answer(dialog, violations: list[str]):
    if dialog.type == "confirm":
        dialog.accept()
    else:
        violations.append(f"a dialog said {dialog.message!r}")
        dialog.dismiss()


def set_up(service, page):
    """Makes the first account, which administers the site."""
    link = service.process.wait_line(r"^\s+(http\S+/setup\?token=\S+)$")[1]
    page.goto(link)
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/printers")


def sign_in(service, page, email: str = EMAIL):
    page.goto(f"{service.origin}/sign-in")
    page.fill("#email", email)
    page.fill("#password", PASSWORD)
    page.click("form[action='/sign-in'] button.primary")
    page.wait_for_url("**/printers")


def hostile_texts() -> list[str]:
    """What has broken out of pages elsewhere, as the site's own tests list it."""
    source = (paths.REPOSITORY / "crates" / "web" / "tests" / "it" / "texts.rs").read_text()
    listed = re.search(r"const HOSTILE: &\[&str\] = &\[\n(.*?)^\];", source, re.MULTILINE | re.DOTALL)
    literals = re.findall(r'^ {4}"((?:[^"\\]|\\.)*)",$', listed[1], re.MULTILINE)
    assert len(literals) > 30
    escapes = {'\\"': '"', "\\\\": "\\"}

    def unescape(match: re.Match) -> str:
        return chr(int(match[1], 16)) if match[1] else escapes[match[0]]

    return [re.sub(r"\\u\{([0-9a-f]+)\}|\\.", unescape, literal) for literal in literals]


def totp(secret: str) -> str:
    """RFC 6238 with the usual choices."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset:offset + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"
