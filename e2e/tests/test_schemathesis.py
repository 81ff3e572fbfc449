"""The App APIs against their own OpenAPI document, with schemathesis: no 5xx, and no status that is not documented."""

import subprocess

import pytest

from harness import paths
from harness.process import clean_environment

# Examples for each call (F4), another set every time. A failure prints its seed.
MAX_EXAMPLES = 100
CHECKS = (
    "no_fault_of_the_service,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,unsupported_method"
)


@pytest.fixture(scope="module")
def apps(service):
    """An app of each of two tenants."""
    made = {}
    for tenant in ("user", "other tenant"):
        owner = service.add_user(f"{tenant.replace(' ', '-')}@example.com")
        printer = service.add_printer(owner, f"Schemathesis of {tenant}")
        made[tenant] = service.admin("app-connection", "create", "--printer", printer.id, "--app", "schemathesis")
    return made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", ["nobody", "somebody with a wrong token", "user", "other tenant"])
def test_the_app_apis_keep_their_promises(service, apps, tmp_path, who):
    tokens = {"nobody": None, "somebody with a wrong token": "wrong"}
    token = tokens[who] if who in tokens else apps[who]["appApiToken"]
    others = [app for name, app in apps.items() if name != who]
    before = [told(service, app) for app in others]
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
        *(["--header", f"AppToken: {token}"] if token else []),
    ]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=tmp_path,
        env=clean_environment()
        | {"SCHEMATHESIS_HOOKS": str(paths.E2E / "harness" / "schemathesis_checks.py")}
        | ({"SPOOLWAY_GUESSES": "1"} if who in tokens else {}),
        capture_output=True,
        text=True,
        timeout=280,
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report[-8000:]
    assert "Tested: 6" in report, report[-2000:]
    assert [told(service, app) for app in others] == before, "it changed what is another tenant's"


def told(service, app) -> list:
    """What a tenant's app and its owner see."""
    info = service.site().get("/api/appconnection/info", {"AppToken": app["appApiToken"]}).json()
    row = next(row for row in service.admin("app-connection", "list") if row["id"] == app["id"])
    # Asking is a use.
    return [info, {name: value for name, value in row.items() if "Used" not in name}]
