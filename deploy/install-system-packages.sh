#!/usr/bin/env bash
# Install programs by their Debian package name unless they are there already:
#
#   install-system-packages.sh [--optional] NAME...
#
# Does nothing, quickly, when nothing is missing. Else it uses apt-get (or dnf, or apk) as root or
# through a sudo that asks no password. What it installs is not started as a system service:
# the relay and its tests start their own. When it cannot install, it says in one sentence what
# to install, and exits 1; with --optional it exits 0.
set -euo pipefail

# Daemons live in sbin, which is not on everybody's PATH.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

optional=false
if [[ ${1:-} == --optional ]]; then
  optional=true
  shift
fi

# Is the program of a package there? Valkey is as good as Redis.
is_there() {
  case $1 in
    redis-server) command -v redis-server >/dev/null || command -v valkey-server >/dev/null ;;
    libnet-ssleay-perl) perl -MNet::SSLeay -e 1 2>/dev/null ;; # swaks needs it for TLS
    # Debian installs modules for its own Python, which need not be the first on the PATH.
    python3-dkim) python3 -c 'import dkim' 2>/dev/null || /usr/bin/python3 -c 'import dkim' 2>/dev/null ;;
    bind9-utils) command -v dnssec-signzone >/dev/null ;;
    libc6-dev) [[ -e /usr/include/stdio.h ]] ;;
    libssl-dev) [[ -e /usr/include/openssl/ssl.h ]] ;;
    postfix-mta-sts-resolver) command -v mta-sts-daemon >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
find_missing() {
  missing=()
  local name
  for name in "$@"; do
    is_there "$name" || missing+=("$name")
  done
}

as_root=()
can_be_root() {
  [[ $(id -u) == 0 ]] && return
  as_root=(sudo -n)
  command -v sudo >/dev/null && sudo -n true 2>/dev/null
}

# Debian starts a daemon when it is installed, unless this file forbids it.
readonly policy=/usr/sbin/policy-rc.d
forbid_services() {
  [[ -e $policy ]] && return
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
}

# Nor at the next boot.
disable_services() {
  command -v systemctl >/dev/null || return 0
  local name
  for name in "$@"; do
    "${as_root[@]}" systemctl --quiet disable "$name" 2>/dev/null || true
  done
}

with_apt() {
  local options=(-q -o Acquire::Retries=1 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=120)
  local env=(env DEBIAN_FRONTEND=noninteractive)
  forbid_services
  # No main.cf, no mailbox delivery: whoever starts it brings a configuration.
  echo 'postfix postfix/main_mailer_type select No configuration' |
    "${as_root[@]}" debconf-set-selections 2>/dev/null || true
  "${as_root[@]}" apt-get "${options[@]}" update
  # One by one: a name this release does not have must not keep the others away.
  local name
  for name in "$@"; do
    "${as_root[@]}" "${env[@]}" apt-get "${options[@]}" install -y --no-install-recommends "$name" ||
      { [[ $name == redis-server ]] &&
        "${as_root[@]}" "${env[@]}" apt-get "${options[@]}" install -y --no-install-recommends valkey-server; } ||
      true
  done
  disable_services "$@"
}

# Elsewhere the packages have other names.
with_dnf() {
  local name
  for name in "${@/redis-server/redis}"; do
    "${as_root[@]}" dnf install -y -q "$name" ||
      { [[ $name == redis ]] && "${as_root[@]}" dnf install -y -q valkey; } || true
  done
}

with_apk() {
  local name
  for name in "${@/redis-server/redis}"; do
    "${as_root[@]}" apk add -q "$name" || true
  done
}

install() {
  if command -v apt-get >/dev/null; then
    with_apt "$@"
  elif command -v dnf >/dev/null; then
    with_dnf "$@"
  elif command -v apk >/dev/null; then
    with_apk "$@"
  else
    echo "no apt-get, dnf or apk here"
  fi
}

find_missing "$@"
[[ ${#missing[@]} == 0 ]] && exit 0

if can_be_root; then
  echo "installing ${missing[*]}"
  log=$(mktemp)
  (install "${missing[@]}") </dev/null >"$log" 2>&1 || true
  find_missing "$@"
  [[ ${#missing[@]} == 0 ]] || tail -n 15 "$log" >&2
  rm -f "$log"
fi

[[ ${#missing[@]} == 0 ]] && exit 0
if $optional; then
  echo "not installed: ${missing[*]}; what needs them is skipped (as root: apt-get install ${missing[*]})"
  exit 0
fi
echo "${missing[*]} is needed and could not be installed; as root: apt-get install ${missing[*]}" >&2
exit 1
