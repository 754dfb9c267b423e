#!/usr/bin/env bash
# From nothing to a registered model: makes half an hour of labelled motion in the layouts of AMASS, BABEL and
# SMPL+H, builds shards of it, pretrains a small LangPose on two processes, evaluates it on people that it never
# saw, and leaves an MLflow run and a registered model version.
#
#   bash launch/quickstart.sh [OUT]      default OUT: runs/quickstart
#
# Needs only Python 3.11, 3.12 or 3.13. Interrupted, it resumes when it is started again.
set -euo pipefail

fail() {
  printf 'quickstart: error: %s\n' "$*" >&2
  exit 2
}

[[ $# -le 1 ]] || fail "usage: bash launch/quickstart.sh [OUT]"
unset CDPATH
mkdir -p "${1:-runs/quickstart}" || fail "${1:-runs/quickstart} cannot be made"
out=$(cd "${1:-runs/quickstart}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."

trap 'echo "quickstart: interrupted; start it again to resume" >&2; exit 130' INT TERM HUP
bash launch/environment.sh .venv offline-text </dev/null
export PATH=$PWD/.venv/bin:$PATH
uri=sqlite:///$out/mlflow.db

if [[ ! -e $out/shards/manifest.json ]]; then
  if [[ ! -e $out/data/synthesis.json ]]; then
    rm -rf "$out/data"
    langpose data synthesize --out "$out/data" --hours 0.5
  fi
  langpose data build amass --input "$out/data/amass" --babel "$out/data/babel" --smplh "$out/data/smplh" \
    --regressor "$out/data/J_regressor_h36m_correct.npy" --dataset synthetic --fps 10 \
    --out "$out/shards"
fi

# The last thing that training does is to register the model.
if ! langpose registry show langpose-small@candidate --tracking-uri "$uri" >/dev/null 2>&1; then
  # Two processes need two GPUs or none: with one, the processor is used.
  if (($(python -c 'import torch; print(torch.cuda.device_count())') < 2)); then
    device=cpu
  fi
  python launch/start.py node --num-ranks 2 -- \
    --config configs/pretrain/small.yaml --resume-if-started \
    "data.path=$out/shards" "output=$out/run" "tracking.uri=$uri" "train.device=${device:-cuda}"
fi

langpose evaluate "$out/run" --out "$out/evaluation.json"
langpose registry show langpose-small@candidate --tracking-uri "$uri"
echo
echo "Pictures and curves: $out/run; in the browser: .venv/bin/mlflow ui --backend-store-uri $uri"
