"""The service with TLS of its own: HTTP/1.1 and HTTP/2 for visitors, an agent that checks the certificate."""

import hashlib
import subprocess

import pytest
from conftest import OWNER

from harness.agent import Agent
from harness.client import Download
from harness.process import wait_for
from harness.tls import make_tls

LENGTH = 64 * 1024 * 1024
EXPECTED = hashlib.sha256(bytes(range(256)) * (LENGTH // 256)).hexdigest()


@pytest.fixture
def agent(tls_service, echo_printer, tmp_path):
    one = Agent(tmp_path / "agent", tls_service.add_printer(OWNER), echo_printer.url)
    try:
        yield one.start()
    finally:
        one.close()


def curl(target, path, *arguments):
    name = target.host.split(":")[0]
    command = ["curl", "-sS", "--max-time", "60", "--resolve", f"{name}:{target.port}:127.0.0.1"]
    # OpenSSL refuses a wildcard right below a top-level name, as `*.localhost` is. Other clients here check the chain.
    command += ["--insecure", "-u", ":".join(target.basic), *arguments, target.url + path]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_visitors_speak_either_version(agent, version):
    process = curl(agent.printer.app(), "/echo/over-tls", version, "-i")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output.startswith(b"HTTP/2 200" if version == "--http2" else b"HTTP/1.1 200")
    # The printer is told that its visitor came over TLS.
    assert b'["X-Forwarded-Proto", "https"]' in output or b'["x-forwarded-proto", "https"]' in output


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("path", ["/bytes", "/chunks"])
def test_a_body_that_is_cut_is_an_error_of_the_transfer(agent, version, path):
    # Slow enough that it is under way for certain.
    process = curl(agent.printer.app(), f"{path}?length={LENGTH}", version, "--limit-rate", "4M")
    begun = process.stdout.read(1024 * 1024)
    assert len(begun) == 1024 * 1024
    agent.process.kill()
    rest, errors = process.communicate(timeout=60)
    assert len(begun) + len(rest) < LENGTH
    assert process.returncode != 0, "curl took a cut body for a whole one"
    print(version, path, errors.decode().strip())


def test_a_large_download_is_whole(agent):
    download = Download(agent.printer.app(), f"/bytes?length={LENGTH}").finish()
    assert download.whole and download.sha256 == EXPECTED


def trusts(authority, port: int) -> bool:
    """Whether someone who trusts an authority gets an answer."""
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", authority]
    done = subprocess.run([*command, f"https://localhost:{port}/healthz"], capture_output=True, timeout=30)
    return done.stdout == b"200"


def test_a_renewed_certificate_is_taken_without_a_restart(tls_service, tmp_path):
    renewed, port = make_tls(tmp_path), tls_service.port
    first = {path: path.read_bytes() for path in (tls_service.tls.key, tls_service.tls.certificate)}
    assert trusts(tls_service.tls.authority, port) and not trusts(renewed.authority, port)
    try:
        tls_service.tls.key.write_bytes(renewed.key.read_bytes())
        tls_service.tls.certificate.write_bytes(renewed.certificate.read_bytes())
        wait_for(lambda: trusts(renewed.authority, port), 30, "the renewed certificate", interval=0.5)
    finally:
        for path, content in first.items():
            path.write_bytes(content)
        wait_for(lambda: trusts(tls_service.tls.authority, port), 30, "the first certificate again", interval=0.5)
