#!/usr/bin/env bash
# All that the project wants to know of a GPU, most important first, in nine minutes at most.
#
#   bash benchmarks/gpu.sh DATA [OUT]       DATA: folder of shards; OUT: folder of results, default gpu-results
#
# Every part has its own time limit and writes its log and JSON at once, so that a machine that goes away
# early leaves what was done. Needs this repository's packages; WHEELS names a folder to install missing ones
# from where there is no network. docs/performance.md says what the numbers are for.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
data=${1:?usage: bash benchmarks/gpu.sh DATA [OUT]}
out=${2:-gpu-results}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} TOKENIZERS_PARALLELISM=false

if [[ -n ${WHEELS:-} ]]; then
  python -m pip install --quiet --no-index --find-links "$WHEELS" deepspeed webdataset pydantic filelock \
    beartype jaxtyping 2>&1 | tail -n 3
fi

part() {
  local name=$1 seconds=$2 status
  shift 2
  echo "== $name"
  timeout -k 10 "$seconds" "$@" >"$out/$name.log" 2>&1
  status=$?
  tail -n 25 "$out/$name.log"
  echo "== $name: exit $status after ${SECONDS} s in all" | tee -a "$out/summary.txt"
}

paper=(--config configs/pretrain/paper.yaml --output "$out")
# Whole windows of 243 frames from data at any rate: lengths in frames are the paper's.
loop=(python -m benchmarks.train_profile --data "$data" "${paper[@]}" data.num_workers=4)
fast=(model.compile=true model.stream=bfloat16)

nvidia-smi >"$out/nvidia-smi.txt" 2>&1
part correctness 120 python -m pytest -q -m gpu -p no:cacheprovider -n 8 tests
part steps_bfloat16 100 python -m benchmarks.step_time --device cuda --compile --output "$out"
part train_fast 90 "${loop[@]}" --name train_fast --steps 400 "${fast[@]}"
part train_eager 60 "${loop[@]}" --name train_eager --steps 120
part steps_float32 60 python -m benchmarks.step_time --device cuda --precision float32 --repeats 6 --output "$out/float32"
part nccl 60 deepspeed --num_gpus 1 launch/train.py --config configs/pretrain/small.yaml output="$out/nccl" \
  data.path="$data" train.max_steps=20 train.zero_stage=2 tracking.enabled=false tracking.register_as=null
part inference 60 python -m langpose_dist.cli.main model summary --batch-size 16 --measure --json
part train_graphs 90 "${loop[@]}" --name train_graphs --steps 200 "${fast[@]}" model.compile_mode=reduce-overhead
rm -rf "$out/nccl"
