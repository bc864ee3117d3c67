#!/usr/bin/env bash
# Installs the packages of tools/packages.txt that this machine lacks. Where nothing is missing it
# neither asks for root nor touches the network.
#
#   tools/setup.sh [SECTION...]     sections of packages.txt; without any: build
#   tools/setup.sh --update         only refreshes apt's lists of what can be had
set -euo pipefail

list="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/packages.txt"
[ $# -gt 0 ] || set -- build

fail() {
  echo "setup: $*" >&2
  exit 1
}

packages_of() {  # SECTION
  awk -v want="[$1]" '/^\[/ { inside = ($0 == want); found += inside; next }
                      /^[^#]/ && inside { print $1 }
                      END { exit !found }' "$list"
}

is_installed() {  # PACKAGE
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | head -c 9)" = installed ]
}

become_root() {  # WHY
  as_root=()
  [ "$(id -u)" -eq 0 ] && return
  command -v sudo >/dev/null || fail "neither root nor sudo is at hand to $1"
  as_root=(sudo)
}

apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" \
    </dev/null >"$log" 2>&1 || {
    cat "$log" >&2
    return 1
  }
}

update() {
  apt_get update || fail "apt-get update failed; its words are above"
}

log="$(mktemp)"
trap 'rm -f "$log"' EXIT

command -v dpkg-query >/dev/null ||
  fail "this is no Debian system; install the equivalents of the packages in $list and run cmake" \
       "--preset release"

if [ "$1" = --update ]; then
  become_root "refresh apt's lists"
  update
  exit 0
fi

missing=()
for section in "$@"; do
  packages="$(packages_of "$section")" || fail "packages.txt has no section [$section]"
  for package in $packages; do
    is_installed "$package" || missing+=("$package")
  done
done
[ ${#missing[@]} -gt 0 ] || exit 0

become_root "install the missing packages: ${missing[*]}"
echo "setup: installing ${missing[*]}"
update
apt_get install -y --no-install-recommends "${missing[@]}" ||
  fail "apt-get could not install ${missing[*]}; its words are above"
