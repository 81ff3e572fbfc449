"""Return URLs of the portal, taken apart by the service and by a real browser: both have to find the same host."""

import html
import re
import urllib.error
import urllib.parse
import urllib.request

TEXTS = """
https://app.example.org/done
https://APP.example.org:443/?a=b
https://app.example.org:8443/x#y
https://app.example.org./
https://xn--bcher-kva.example/
https://bücher.example/
https://my_app.example.org/
https://1.1.1.1/
https://0x7f.1/
https://①②⑦.0.0.1/
https://app.example.org/path@with/at
https://app.example.org/?next=https://other.example/
https://app.example.org//double
https://app.example.org?x
https://app.example.org#x
https:app.example.org
https:/app.example.org/
https:///app.example.org/
https:\\\\app.example.org
https://app.example.org\\@other.example/
https://good.example@other.example/
https://u:p@app.example.org/
https://@app.example.org/
https://good.example%40other.example/
https://app%2eexample.org/
https://app.example.org%2f@other.example/
https://app.example.org%00.other.example/
https://app。example.org/
https://app.example.org:80:81/
https://app.example.org:99999/
https://[::1]/
https://[::1
https://1.2.3.4.5/
https://app;x.example/
//app.example.org/
///app.example.org/
/done
http://localhost:3000/cb
http://LOCALHOST/
http://127.1/
http://2130706433/
http://0177.0.0.1/
http://192.168.1.20/
http://[fd00::1]/
http://app.example.org/
http://1.1.1.1/
http://localhost.example.org/
http://localhost@other.example/
someapp://octoeverywhere
SomeApp://octoeverywhere
someapp:done
com.example.app:/oauth
javascript:alert(1)
JavaScript://app.example.org/%0aalert(1)
data:text/html,x
file:///etc/passwd
blob:https://app.example.org/x
about:blank
vbscript:x
view-source:https://app.example.org/
""".strip().splitlines()

READ = """texts => texts.map(text => {
    try {
        const url = new URL(text);
        return { protocol: url.protocol, host: url.host, user: url.username + url.password };
    } catch {
        return null;
    }
})"""


def way_back(service, text: str) -> str | None:
    """Where the portal would go back to, or nothing if it refuses."""
    url = f"{service.origin}/appportal/v1?appId=test&returnUrl={urllib.parse.quote(text, safe='')}"
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            page = response.read().decode()
    except urllib.error.HTTPError as error:
        assert error.code == 400, (text, error.code)
        return None
    (link,) = re.findall(r'href="([^"]*success=false[^"]*)"', page)
    return html.unescape(link)


def test_service_and_browser_agree(service, page):
    assert len(TEXTS) >= 40
    links = [way_back(service, text) for text in TEXTS]
    as_given = page.evaluate(READ, TEXTS)
    as_sent = page.evaluate(READ, [link or "about:blank" for link in links])
    n_passed = 0
    for text, link, given, sent in zip(TEXTS, links, as_given, as_sent, strict=True):
        if link is None:
            continue
        n_passed += 1
        assert given == sent, (text, link, given, sent)
        assert given["protocol"] not in ("javascript:", "data:", "file:", "blob:", "about:", "vbscript:"), text
        assert not given["user"], text
        if given["protocol"] == "http:":
            assert re.match(r"localhost|127\.|10\.|192\.168\.|\[f[cd]", given["host"]), (text, given)
    print(f"{n_passed} of {len(TEXTS)} pass")
    assert n_passed >= 20
