#!/usr/bin/env bash
# Installs what the end-to-end tests need; does nothing when nothing changed since the last time.
set -euo pipefail
cd "$(dirname "$0")"

python="${PYTHON:-python3.11}"
cache=.cache
mkdir -p "$cache"
version=$("$python" --version)

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || missing+=(haproxy)
command -v caddy >/dev/null || missing+=(caddy)
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
command -v slowhttptest >/dev/null || missing+=(slowhttptest)
command -v curl >/dev/null || missing+=(curl)
command -v node >/dev/null || missing+=(nodejs npm)
# Moonraker's `libnacl` loads the C library at run time.
ldconfig -p | grep -q libsodium || missing+=(libsodium23)
[ -e /usr/lib/*/faketime/libfaketimeMT.so.1 ] || missing+=(libfaketime)
if [ "${#missing[@]}" -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# A stamp holds the hash of what a folder was made from, so that a second run costs one hash.
fresh() { [ -d "$1" ] && [ "$(cat "$cache/$2.stamp" 2>/dev/null)" = "$3" ]; }

environment() { # DIRECTORY REQUIREMENTS
    local name hash
    name=$(basename "$2" .txt)
    hash=$({ echo "$version"; pwd; cat "$2"; } | sha256sum)
    fresh "$1" "$name" "$hash" && return
    echo "setting up $1 from $2"
    rm -rf "$1"
    "$python" -m venv "$1"
    # OctoPrint and Moonraker pin versions of the same packages that do not agree: each gets its own environment.
    "$1/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$2"
    echo "$hash" >"$cache/$name.stamp"
}

environment .venv requirements.txt
environment "$cache/octoprint" requirements-octoprint.txt
environment "$cache/moonraker" requirements-moonraker.txt
environment "$cache/plugin" requirements-plugin.txt
environment "$cache/autobahn" requirements-autobahn.txt
environment "$cache/schemathesis" requirements-schemathesis.txt

hash=$(cat package.json package-lock.json .npmrc | sha256sum)
if ! fresh node_modules node "$hash"; then
    npm ci --silent --no-progress --ignore-scripts
    echo "$hash" >"$cache/node.stamp"
fi
