"""Where things are."""

import os
from pathlib import Path

E2E = Path(__file__).resolve().parent.parent
REPOSITORY = E2E.parent
CACHE = E2E / ".cache"
SERVERS = E2E / "servers"
PAGES = E2E / "pages"
ARTIFACTS = CACHE / "artifacts"
BINARIES = Path(os.environ.get("SPOOLWAY_BIN_DIR", REPOSITORY / "target" / "debug")).resolve()
SERVICE = BINARIES / "spoolway"
AGENT = BINARIES / "spoolway-agent"
PYTHON = E2E / ".venv" / "bin" / "python"
