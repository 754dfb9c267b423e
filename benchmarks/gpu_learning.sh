#!/usr/bin/env bash
# The full-size model on open motion for as long as a lent GPU lasts, resumed wherever it was left.
#
#   bash benchmarks/gpu_learning.sh DATA FORM OUT [CARRIED] [SECONDS]
#
# DATA: folder of shards. FORM: none, infonce or modified. OUT: where the parts go that are small enough to be
# given back. CARRIED: the OUT of the time before; none the first time. SECONDS: of everything, default 580; the
# last 100 save and pack. What is kept between two times, and what is not: benchmarks/carry.py.
set -euo pipefail
data=$(realpath "${1:?usage: bash benchmarks/gpu_learning.sh DATA FORM OUT [CARRIED] [SECONDS]}")
form=$2 out=$(realpath "$3") carried=${4:+$(realpath "$4")} limit=${5:-580}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=$(mktemp -d)/run
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} TOKENIZERS_PARALLELISM=false

if [[ -n $carried ]]; then
  python -m benchmarks.carry unpack "$carried" "$run"
fi
status=0
timeout --signal TERM $((limit - SECONDS - 100)) python -m langpose_dist.cli.main train --resume-if-started \
  --config configs/pretrain/paper.yaml output="$run" data.path="$data" loss.contrastive="$form" \
  train.max_steps=200000 train.checkpoint_every=1000 train.evaluate_every=2000 train.log_every=50 \
  data.num_workers=4 tracking.enabled=false tracking.register_as=null ${LEARNING_OVERRIDES:-} || status=$?
python -m benchmarks.carry pack "$run" "$out"
tail -n 2 "$run/metrics.jsonl"
if ((status != 0 && status != 124 && status != 75)); then
  echo "gpu_learning: the training ended with $status; what it had saved is packed" >&2
  exit "$status"
fi
