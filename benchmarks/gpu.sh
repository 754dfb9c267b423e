#!/usr/bin/env bash
# All that the project wants to know of a GPU, most important first, in nine minutes at most.
#
#   bash benchmarks/gpu.sh DATA [OUT]       DATA: folder of shards; OUT: folder of results, default gpu-results
#   SMALL=1 bash benchmarks/gpu.sh DATA     the script itself, on a processor with a tiny model
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

device=cuda small=() repeats=()
if [[ -n ${SMALL:-} ]]; then # to try the script itself on a processor
  device=cpu repeats=(--repeats 2 --batch-size 2)
  small=(window.num_frames=9 window.stride=3 window.min_span_frames=4 "masking.time_window_frames=[2, 4]"
    noise.num_keyframes=4 model.dim=32 model.dim_representation=32 model.depth=1 model.num_heads=2)
fi
steps=(python -m benchmarks.step_time "${small[@]}" --device "$device" "${repeats[@]}")
loop() { # name, limit in seconds, steps, overrides
  part "$1" "$2" python -m benchmarks.train_profile --data "$data" --config configs/pretrain/paper.yaml \
    --output "$out" --name "$1" --steps "$3" data.num_workers=4 "${small[@]}" "${@:4}"
}
fast=(model.compile=true model.stream=bfloat16)

nvidia-smi >"$out/nvidia-smi.txt" 2>&1
part correctness 100 python -m pytest -q -m gpu -p no:cacheprovider -n 8 tests/train/test_gpu.py
part steps_bfloat16 80 "${steps[@]}" --precision bfloat16 --compile --output "$out"
loop train_fast 110 400 "${fast[@]}"
loop train_eager 45 120
part steps_float32 45 "${steps[@]}" --precision float32 --output "$out/float32"
part nccl 40 deepspeed --num_gpus 1 launch/train.py --config configs/pretrain/small.yaml output="$out/nccl" \
  data.path="$data" train.max_steps=20 train.zero_stage=2 tracking.enabled=false tracking.register_as=null
part inference 50 python -m benchmarks.lifting_speed --compile --output "$out" "${small[@]}"
loop train_graphs 70 200 "${fast[@]}" model.compile_mode=reduce-overhead
rm -rf "$out/nccl"
