#!/usr/bin/env bash
# Install the npm packages of package-lock.json, if that has not been done since it changed, and
# make sure that the Node.js 24 among them works. Quiet unless something goes wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly marker=node_modules/.package-lock.json
readonly node=node_modules/.bin/node

fail() {
  echo "$*" >&2
  exit 1
}

# npm must not run on the Node.js it is about to replace (`npm test` puts that first).
PATH=$(tr ':' '\n' <<<"$PATH" | grep -v '/node_modules/' | paste -sd: -)
export PATH

if [[ ! -e $marker || package-lock.json -nt $marker ]]; then
  command -v npm >/dev/null || fail "npm is missing: install Node.js with npm (any version), e.g. apt-get install nodejs npm"
  echo "installing npm packages"
  # Exactly what package-lock.json says. Not `npm ci`: it refuses a lock file without the optional
  # packages of platforms that were out of reach where the file was made. The warnings left out
  # only say that the system's Node.js is older than the one that comes here (EBADENGINE).
  npm install --no-save --no-progress --loglevel=error || fail "npm install failed, see above"
  touch "$marker"
fi

version=$("$node" --version 2>/dev/null || echo none)
if [[ $version != v24.* ]]; then
  fail "$node is not Node.js 24 (it says: $version). Its install script did not run: allow it" \
    "(npm config get ignore-scripts must be false; package.json allows it in allowScripts)," \
    "then: rm -rf node_modules && make deps"
fi
