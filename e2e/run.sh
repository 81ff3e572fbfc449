#!/usr/bin/env bash
# Sets up and runs the end-to-end tests; arguments go to pytest. The binaries are taken from ../target/debug, or from
# SPOOLWAY_BIN_DIR.
set -euo pipefail
cd "$(dirname "$0")"
./setup.sh
exec .venv/bin/python -m pytest "$@"
