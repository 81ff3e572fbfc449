"""What a newcomer sees: `spoolway serve --demo` prints a line that works as printed."""

import re
import subprocess

import pytest

from harness import paths
from harness.process import Process


@pytest.fixture
def demo(tmp_path):
    command = [paths.SERVICE, "serve", "--demo", "--listen", "127.0.0.1:0", "--data", tmp_path / "data"]
    process = Process(command, tmp_path / "demo.log", cwd=tmp_path)
    yield process
    process.close()


def test_the_printed_curl_line_works(demo):
    line = demo.wait_line(r"^\s*(curl .+)$", timeout=60)[1]
    assert re.search(r"://app-[a-z2-7]+\.localhost:\d+", line)
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout and b'"Error"' not in done.stdout
    status = subprocess.run(
        ["bash", "-c", line + " -s -o /dev/null -w '%{http_code}'"], capture_output=True, timeout=60
    )
    assert status.stdout == b"200"


def test_the_printed_login_works(demo, tmp_path):
    site = demo.wait_line(r"^\s+address\s+(\S+)/$", timeout=60)[1]
    email = demo.wait_line(r"^\s+e-mail\s+(\S+)$")[1]
    password = demo.wait_line(r"^\s+password\s+(\S+)$")[1]
    jar = "--cookie-jar jar --cookie jar"
    form = subprocess.run(["bash", "-c", f"curl -sS {jar} {site}/sign-in"], capture_output=True, text=True, cwd=tmp_path)
    token = re.search(r'name="form_token" value="([A-Z2-7]+)"', form.stdout)[1]
    data = f"-d form_token={token} -d email={email} -d password={password}"
    done = subprocess.run(
        ["bash", "-c", f"curl -sS {jar} {data} -o /dev/null -w '%{{http_code}} %{{redirect_url}}' {site}/sign-in"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout == f"303 {site}/printers"


def test_a_taken_port_is_said_and_another_used(tmp_path):
    first = second = None
    try:
        first = Process(
            [paths.SERVICE, "serve", "--demo", "--data", tmp_path / "one"], tmp_path / "one.log", cwd=tmp_path
        )
        address = first.wait_line(r"^spoolway is ready on (\S+) ", timeout=60)[1]
        second = Process(
            [paths.SERVICE, "serve", "--demo", "--data", tmp_path / "two"], tmp_path / "two.log", cwd=tmp_path
        )
        assert second.wait_line(r"^spoolway is ready on (\S+) ", timeout=60)[1] != address
        assert any("8080" in line for line in second.lines)
    finally:
        for process in (first, second):
            if process:
                process.close()


def test_the_address_works_without_the_demo_too(tmp_path):
    process = Process(
        [paths.SERVICE, "serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "data"], tmp_path / "log", cwd=tmp_path
    )
    try:
        url = process.wait_line(r"^spoolway is ready on (\S+) ", timeout=60)[1]
        healthy = subprocess.run(
            ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{url}/healthz"], capture_output=True
        )
        assert healthy.stdout == b"200", healthy.stderr
    finally:
        process.close()
