"""Real Moonraker through service and agent: directly, and behind nginx with a front end as printer images have it."""

import hashlib
import statistics
import time

import pytest

from harness.camera import Frames
from harness.client import Upload
from harness.moonraker import JsonRpc
from harness.visits import open_shared

SMALL_PRINT = b"G28\n" + b"G1 X1 Y1\n" * 50


@pytest.fixture(params=["moonraker_agent", "moonraker_direct_agent"], ids=["behind nginx", "direct"])
def target(request):
    return request.getfixturevalue(request.param).printer.app()


def test_server_info_with_either_credential(target):
    for one in (target, target.as_bearer()):
        assert one.get("/server/info").expect(200).json()["result"]["klippy_state"] == "ready"


def test_moonrakers_own_errors_are_passed_on(target):
    answer = target.get("/server/files/gcodes/missing.gcode")
    assert answer.status == 404 and answer.error is None


def test_json_rpc_over_the_websocket(target):
    rpc = JsonRpc(target)
    rpc.call("server.connection.identify", client_name="test", version="1", type="web", url="https://example.com")
    assert rpc.call("printer.info")["state"] == "ready"
    assert "print_stats" in rpc.call("printer.objects.list")["objects"]
    rpc.close()


def test_six_megabytes_of_gcode_are_uploaded_printed_and_followed(target, moonraker, gcode):
    rpc = JsonRpc(target)
    subscribed = rpc.call("printer.objects.subscribe", objects={"print_stats": None, "virtual_sdcard": ["progress"]})
    assert subscribed["status"]["print_stats"]["state"] != "printing"
    upload = Upload(target, "/server/files/upload", "file", "six.gcode", gcode, fields={"root": "gcodes"}).send()
    assert upload.response().expect(201).json()["item"]["size"] == len(gcode)
    stored = (moonraker.gcodes / "six.gcode").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == hashlib.sha256(gcode).hexdigest()
    rpc.follow(lambda message: message["method"] == "notify_filelist_changed")

    assert rpc.call("printer.print.start", filename="six.gcode") == "ok"

    def status(message):
        return message["params"][0] if message["method"] == "notify_status_update" else {}

    rpc.follow(lambda message: status(message).get("print_stats", {}).get("state") == "printing")
    rpc.follow(lambda message: 0.4 < status(message).get("virtual_sdcard", {}).get("progress", 0) < 1)
    rpc.follow(lambda message: status(message).get("print_stats", {}).get("state") == "complete")
    finished = rpc.follow(
        lambda message: message["method"] == "notify_history_changed" and message["params"][0]["action"] == "finished"
    )
    assert finished["params"][0]["job"]["status"] == "completed"
    rpc.close()
    back = target.get("/server/files/gcodes/six.gcode").expect(200).body
    assert hashlib.sha256(back).hexdigest() == hashlib.sha256(gcode).hexdigest()


def test_moonraker_sees_the_visitors_address(moonraker_direct_agent, moonraker):
    app = moonraker_direct_agent.printer.app()
    # Moonraker trusts 127.0.0.1 alone, which is also where the agent is: a visitor from there is let in …
    assert app.get("/access/info").expect(200).json()["result"]["trusted"] is True
    app.get("/server/config").expect(200)
    # … and one from elsewhere is a stranger, although it is the same agent that asks.
    stranger = app.from_address("127.0.0.9")
    assert stranger.get("/access/info").expect(200).json()["result"]["trusted"] is False
    refused = stranger.get("/server/config")
    assert refused.status == 401 and refused.error is None
    # What a visitor says about its own address does not count.
    for name in ("X-Real-IP", "X-Forwarded-For", "Forwarded"):
        value = "for=127.0.0.1" if name == "Forwarded" else "127.0.0.1"
        assert stranger.get("/server/config", {name: value}).status == 401


def test_the_websockets_origin_check_passes_for_the_page_itself_only(moonraker_direct_agent):
    app = moonraker_direct_agent.printer.app()
    rpc = JsonRpc(app, {"Origin": app.url})
    assert rpc.call("server.info")["klippy_connected"] is True
    rpc.close()
    refused = app.handshake("/websocket", {"Origin": "https://elsewhere.example"})
    assert refused.status == 403 and refused.error is None


def test_every_camera_picture_arrives_within_100_ms(moonraker_app):
    frames = Frames(moonraker_app)
    delays = []
    for _ in range(40):
        headers, _ = frames.next()
        delays.append((time.monotonic_ns() - int(headers["x-timestamp"])) / 1e6)
    frames.close()
    print(
        f"camera: median {statistics.median(delays):.2f} ms, third worst of {len(delays)} {sorted(delays)[-3]:.2f} ms"
    )
    assert statistics.median(delays) < 100
    assert sorted(delays)[-3] < 250


def test_moonrakers_own_page_loads(moonraker_direct_agent):
    page = moonraker_direct_agent.printer.app().get("/").expect(200)
    assert b"Moonraker" in page.body


def test_a_front_end_works_in_a_browser(moonraker_agent, moonraker, page, artifacts, tmp_path):
    shared = moonraker_agent.printer.shared()
    problems = []
    page.on(
        "response", lambda response: response.status >= 500 and problems.append(f"{response.status} {response.url}")
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    # The camera never ends loading, so the page's `load` event does not wait for it either.
    open_shared(page, shared.url + "/")
    page.wait_for_function("document.querySelector('#klippy').textContent === 'ready'")
    page.wait_for_function("document.querySelector('#camera').naturalWidth === 16")
    file = tmp_path / "front.gcode"
    file.write_bytes(SMALL_PRINT)
    page.set_input_files("#file", str(file))
    page.wait_for_function("document.querySelector('#upload').textContent === '201'")
    page.wait_for_function("document.querySelector('#state').textContent === 'printing'")
    page.wait_for_function("document.querySelector('#state').textContent === 'complete'")
    assert page.text_content("#progress") == "100"
    page.screenshot(path=artifacts / "front-end.png")
    assert (moonraker.gcodes / "front.gcode").read_bytes() == SMALL_PRINT
    assert not problems, "\n".join(problems)
