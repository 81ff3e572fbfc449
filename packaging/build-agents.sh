#!/usr/bin/env bash
# Builds the agent for other machines, without anything that they would have to have installed: `make agents`, or
# packaging/build-agents.sh TARGET… for some of the targets. The programs land in target/agents/.
set -euo pipefail
cd "$(dirname "$0")/.."

# Raspberry Pi OS of 64 and of 32 bits, and PCs. There is a static 32-bit one where its standard library can be had;
# the one that takes the system's C library does for the rest, from Debian 10 on.
all=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf armv7-unknown-linux-gnueabihf.2.28)
targets=("${@:-${all[@]}}")

tools=target/tools/zig
if [[ ! -x $tools/bin/cargo-zigbuild ]]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --requirement packaging/requirements.txt
fi
PATH="$PWD/$tools/bin:$PATH"
# Names and lines for stack traces are most of it.
export CARGO_PROFILE_RELEASE_STRIP=symbols

mkdir -p target/agents
failed=0
for target in "${targets[@]}"; do
    triple=${target%%.*}
    if ! rustup target add "$triple" >/dev/null 2>&1; then
        echo "$triple: its standard library cannot be had here; left out" >&2
        continue
    fi
    if ! cargo zigbuild --locked --release --package agent --target "$target"; then
        echo "$triple: cannot be built" >&2
        failed=1
        continue
    fi
    program=target/agents/spoolway-agent-$triple
    cp "target/$triple/release/spoolway-agent" "$program"
    printf '%-34s %6.1f MiB\n' "$triple" "$(stat --format=%s "$program" | awk '{ print $1 / 1048576 }')"
done
exit "$failed"
