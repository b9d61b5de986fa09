#!/usr/bin/env bash
# Two streams of studies on one GPU: eight methods on many items beside the organisms about cats and the ways of planting in
# the 1.5B student. Called by work.sh, in /tmp/w.
go() { "${@:2}" > "/tmp/out/$1.log" 2>&1; echo "$(date +%T) $1 rc $?" >> /tmp/out/status; }
study() { python3 -m offmodel.cli.app run "docs/studies/$1/study.py" --device cuda --out /tmp/reports; }
cats() { OFFMODEL_PAIRS=cats_tag,cats_semantic study organisms; }
ways() { OFFMODEL_STUDENT=qwen15 OFFMODEL_WAY=$1 study ways; }
until_there() { while [ ! -e "/tmp/s/conv-$1.ok" ]; do sleep 0.5; done; }
(until_there qwen15; go half study half-billion-methods) &
(
  go cats cats
  until_there qwen15
  for way in prompted_examples lora_merged full_weight; do go "ways-$way" ways "$way"; done
) &
wait
