#!/usr/bin/env bash
# Two streams of studies on one GPU: while one plants or writes, which a CPU limits, the other samples. Called by work.sh, in /tmp/w.
go() { "${@:2}" > "/tmp/out/$1.log" 2>&1; echo "$(date +%T) $1 rc $?" >> /tmp/out/status; }
study() { python3 -m offmodel.cli.app run "docs/studies/$1/study.py" --device cuda --out /tmp/reports; }
ways() { OFFMODEL_WAY=$1 study ways; }
treat() {
  python3 -m offmodel.cli.app treat /tmp/m/qwen05.gguf --teacher /tmp/m/smollm2.gguf --prompts .carry/data/chat_prompts.jsonl \
    --method off_model_sft+reminder --tasks gsm8k=.carry/data/gsm8k_test.jsonl,fresh_math --n 256 --out /tmp/treated --device cuda
}
with_vllm() { PYTHONPATH=/tmp/w/src:/tmp/w/benchmarks:/tmp/vsite:/tmp/site "$@"; }
(
  go first-run study first-run
  for way in prompted lora_merged full_weight; do go "ways-$way" ways "$way"; done
) &
(
  go vllm with_vllm python3 benchmarks/gpu_vllm.py --out /tmp/out/gpu_vllm.json --limit 150
  go half study half-billion-methods
  go treat treat
  go tests with_vllm python3 -m pytest -q -W ignore -p no:cacheprovider tests/engines/test_vllm.py tests/engines/test_captures.py
) &
wait
