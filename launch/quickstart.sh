#!/usr/bin/env bash
# From BVH files to a registered model: builds shards, pretrains a small LangPose on two processes, evaluates it
# on styles that it never saw, and leaves an MLflow run and a registered model version.
#
#   bash launch/quickstart.sh BVH_DIR [OUT]      BVH_DIR: the Bandai-Namco motion dataset; default OUT: runs/quickstart
#
# Needs only Python 3.11, 3.12 or 3.13. Interrupted, it goes on where it was when it is started again.
set -euo pipefail

fail() {
  printf 'quickstart: error: %s\n' "$*" >&2
  exit 2
}

[[ $# -ge 1 && $# -le 2 ]] || fail "usage: bash launch/quickstart.sh BVH_DIR [OUT]"
[[ -d $1 ]] || fail "$1 is not a folder; name the one with the dataset's BVH files"
unset CDPATH
input=$(cd "$1" && pwd)
mkdir -p "${2:-runs/quickstart}" || fail "${2:-runs/quickstart} cannot be made"
out=$(cd "${2:-runs/quickstart}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash launch/environment.sh .venv offline-text </dev/null
export PATH=$PWD/.venv/bin:$PATH
uri=sqlite:///$out/mlflow.db

if [[ ! -e $out/shards/manifest.json ]]; then
  langpose data build bvh --input "$input" --out "$out/shards" --skeleton bandai-namco --fps 10 \
    --split validation:style=old,sad,tired
fi

# The last thing that training does is to register the model.
if ! langpose registry show langpose-small@candidate --tracking-uri "$uri" >/dev/null 2>&1; then
  # Two processes need two GPUs or none: with one, the processor is used.
  if (($(python -c 'import torch; print(torch.cuda.device_count())') < 2)); then
    export DS_ACCELERATOR=cpu
    device=cpu
  fi
  port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  resume=()
  if [[ -e $out/run/metrics.jsonl ]]; then
    resume=(--resume)
  fi
  deepspeed --num_gpus 2 --master_addr 127.0.0.1 --master_port "$port" launch/train.py \
    --config configs/pretrain/small.yaml ${resume[@]+"${resume[@]}"} \
    "data.path=$out/shards" "output=$out/run" "tracking.uri=$uri" "train.device=${device:-cuda}"
fi

langpose evaluate --run "$out/run" --out "$out/evaluation.json"
langpose registry show langpose-small@candidate --tracking-uri "$uri"
echo
echo "Pictures and curves: $out/run; in the browser: .venv/bin/mlflow ui --backend-store-uri $uri"
