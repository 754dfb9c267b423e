#!/usr/bin/env bash
# Makes a virtual environment with this project in it, or brings one up to date; quick when nothing changed.
#
#   bash launch/environment.sh [FOLDER [EXTRAS]]    default: .venv offline-text
#
# Needs only Python 3.11, 3.12 or 3.13 with its venv module; PYTHON names another one than the first found.
# pip's own settings apply: PIP_EXTRA_INDEX_URL chooses the build of torch, for example.
set -euo pipefail

venv=${1:-.venv}
extras=${2:-offline-text}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  printf 'environment: error: %s\n' "$*" >&2
  exit 2
}

is_supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
  local candidates=(python3.11 python3.12 python3.13 python3 python) candidate without_venv=""
  if [[ -n ${PYTHON:-} ]]; then
    candidates=("$PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    if is_supported "$candidate"; then
      if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
        command -v "$candidate"
        return
      fi
      without_venv=$candidate
    fi
  done
  if [[ -n $without_venv ]]; then
    fail "$without_venv has no venv module; install it (Debian, Ubuntu: apt install python3-venv)"
  elif [[ -n ${PYTHON:-} ]]; then
    fail "PYTHON=$PYTHON is not Python 3.11, 3.12 or 3.13; name one that is, or unset PYTHON"
  fi
  fail "no Python 3.11, 3.12 or 3.13 found; install one, or name it: PYTHON=/path/to/python3.11 bash ..."
}

# Equal stamps mean the same project folder, environment folder, pins and extras: nothing to install.
stamp_of() {
  "$venv/bin/python" - "$root" "$venv" "$extras" <<'PYTHON'
import hashlib, pathlib, sys

root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256("\0".join((sys.version, str(root), str(pathlib.Path(sys.argv[2]).resolve()), sys.argv[3])).encode())
for name in ("pyproject.toml", "constraints.txt"):
    digest.update((root / name).read_bytes())
print(digest.hexdigest())
PYTHON
}

# PYTHON asks for another version than the environment has: start over.
if [[ -n ${PYTHON:-} && -e $venv/pyvenv.cfg ]]; then
  version='import sys; print(sys.version)'
  if [[ $("$PYTHON" -c "$version" 2>/dev/null) != "$("$venv/bin/python" -c "$version" 2>/dev/null)" ]]; then
    find_python >/dev/null
    rm -rf "$venv"
  fi
fi

stamp_file=$venv/langpose.stamp
if stamp=$(stamp_of 2>/dev/null) && [[ $stamp == "$(cat "$stamp_file" 2>/dev/null)" ]]; then
  exit 0
fi

if [[ -e $venv && ! -e $venv/pyvenv.cfg ]]; then
  fail "$venv exists and is not a virtual environment; name another folder"
fi
if ! is_supported "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  python=$(find_python)
  echo "environment: making $venv with $("$python" --version) ($python)"
  "$python" -m venv --clear "$venv"
fi
rm -f "$stamp_file"

# As a URL, since pip splits the variable at spaces. The variables pin what packages are built with, too:
# older versions of pip read the first for that, newer ones the second.
constraints=$("$venv/bin/python" -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$root/constraints.txt")
export PIP_CONSTRAINT=$constraints PIP_BUILD_CONSTRAINT=$constraints
echo "environment: installing langpose-dist[$extras] into $venv; the first time takes some minutes"
options=(--disable-pip-version-check --no-input)
if [[ ! -t 1 ]]; then
  options+=(--progress-bar off -qq)
fi
# compat: a plain path entry. With the default, Python started in the folder that holds the checkout takes the
# checkout itself, which has the package's name, for the package.
options+=(--config-settings editable_mode=compat)
"$venv/bin/python" -m pip install "${options[@]}" --editable "$root[$extras]"
stamp_of >"$stamp_file"
