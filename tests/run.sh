#!/usr/bin/env bash
# Every check of the project, in an environment of its own: format, lint, types and tests.
#
#   bash tests/run.sh [PYTEST OPTION ...]     for example: -m slow, or tests/test_config.py
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv-test
bash launch/environment.sh "$venv" offline-text,server,cluster,onnx,video,test </dev/null || exit

# One thread per process: two test workers share the cores. Each begins with one half of the files, so that it
# alone makes what a file's tests share, and takes from the other's end when it is done.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Pyright fetches itself from npm on first use; it stays in the environment, without a notice of newer ones.
export PYRIGHT_PYTHON_CACHE_DIR=$PWD/$venv/pyright PYRIGHT_PYTHON_IGNORE_WARNINGS=1
export PATH=$PWD/$venv/bin:$PATH

failed=()
check() {
  local start=$SECONDS
  printf '\n== %s\n' "$*"
  "$@" </dev/null || failed+=("$1 $2")
  printf '== %s s\n' $((SECONDS - start))
}

check ruff format --check
check ruff check
check pyright --pythonpath "$venv/bin/python"
check python -m pytest -n 2 --dist worksteal "$@"

if ((${#failed[@]})); then
  printf '\ntests/run.sh: failed:'
  printf ' [%s]' "${failed[@]}"
  echo
  exit 1
fi
printf '\ntests/run.sh: every check passed in %s s\n' "$SECONDS"
