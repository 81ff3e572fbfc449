"""The App APIs against their own OpenAPI document, with schemathesis: no 5xx, and no status that is not documented."""

import subprocess

import pytest
from conftest import OWNER

from harness import paths
from harness.process import clean_environment

# Examples for each call: a few seconds of them, another set every time. A failure prints its seed.
MAX_EXAMPLES = 60
CHECKS = (
    "no_fault_of_the_service,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,unsupported_method"
)


@pytest.fixture(scope="module")
def app(service):
    printer = service.add_printer(OWNER, "Schemathesis")
    return service.admin("app-connection", "create", "--printer", printer.id, "--app", "schemathesis")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("token", ["right", "wrong", "missing"])
def test_the_app_apis_keep_their_promises(service, app, tmp_path, token):
    headers = {"right": ["--header", f"AppToken: {app['appApiToken']}"], "wrong": ["--header", "AppToken: wrong"]}
    command = [
        paths.CACHE / "schemathesis/bin/schemathesis",
        "run",
        f"{service.origin}/api/openapi.json",
        f"--checks={CHECKS}",
        f"--max-examples={MAX_EXAMPLES}",
        "--phases=examples,coverage,fuzzing",
        "--workers=1",
        "--request-timeout=30",
        "--no-color",
        *headers.get(token, []),
    ]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=tmp_path,
        env=clean_environment() | {"SCHEMATHESIS_HOOKS": str(paths.E2E / "harness" / "schemathesis_checks.py")},
        capture_output=True,
        text=True,
        timeout=280,
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report[-8000:]
    assert "Tested: 6" in report, report[-2000:]
