#!/usr/bin/env bash
# All that the project wants to know of a GPU, most important first, in nine minutes at most.
#
#   bash benchmarks/gpu.sh DATA [OUT]       DATA: folder of shards; OUT: for the results, default gpu-results
#   SMALL=1 bash benchmarks/gpu.sh DATA     the script itself, on a processor with a tiny model
#
# Every part has its own time limit; after each, OUT/results.tar.gz holds all logs and JSON so far, so that a
# machine that goes away early leaves what was done. Needs this repository's packages; WHEELS names a folder to install missing ones
# from where there is no network. docs/performance.md says what the numbers are for.
set -uo pipefail
data=$(realpath "${1:?usage: bash benchmarks/gpu.sh DATA [OUT]}")
mkdir -p "${2:-gpu-results}"
results=$(realpath "${2:-gpu-results}")
out=$(mktemp -d)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
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
  echo "== $name: exit $status after ${SECONDS} s in all" | tee -a "$results/summary.txt"
  tar -C "$out" -czf "$results/results.tar.gz" .
}

device=cuda small=() repeats=() few_steps=""
if [[ -n ${SMALL:-} ]]; then # to try the script itself on a processor
  device=cpu repeats=(--repeats 2 --batch-size 2) few_steps=30
  small=(window.num_frames=9 window.stride=3 window.min_span_frames=4 "masking.time_window_frames=[2, 4]"
    noise.num_keyframes=4 model.dim=32 model.dim_representation=32 model.depth=1 model.num_heads=2)
fi
steps=(python -m benchmarks.step_time "${small[@]}" --device "$device" "${repeats[@]}")
loop() { # name, limit in seconds, steps, overrides
  part "$1" "$2" python -m benchmarks.train_profile --data "$data" --config configs/pretrain/paper.yaml \
    --output "$out" --name "$1" --steps "${few_steps:-$3}" data.num_workers=4 "${small[@]}" "${@:4}"
}
fast=(model.compile=true model.stream=bfloat16)

nvidia-smi >"$out/nvidia-smi.txt" 2>&1
part correctness 100 python -m pytest -v -m gpu -p no:cacheprovider -n 8 tests/train/test_gpu.py
part steps_bfloat16 120 "${steps[@]}" --precision bfloat16 --compile --output "$out"
loop train_fast 150 1200 "${fast[@]}"
loop train_eager 40 120
part steps_float32 30 "${steps[@]}" --precision float32 --output "$out/float32"
part nccl 30 deepspeed --num_gpus 1 launch/train.py --config configs/pretrain/small.yaml output="$out/run" \
  data.path="$data" train.max_steps=20 optimizer.warmup_steps=5 train.zero_stage=2 tracking.enabled=false \
  tracking.register_as=null
rm -rf "$out/run"
part inference 30 python -m benchmarks.lifting_speed --compile --output "$out" "${small[@]}"
loop train_graphs 40 200 "${fast[@]}" model.compile_mode=reduce-overhead
