#!/usr/bin/env bash
# Works off /tmp/jobs, line by line: NAME LIMIT MARKERS GPUS COMMAND. The file may be changed while it works.
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4 TOKENIZERS_PARALLELISM=false PYTHONWARNINGS=ignore
export OFFMODEL_MODELS=/tmp/m OFFMODEL_DATA=/tmp/w/.carry/data OFFMODEL_STORE=/dev/shm/store
while true; do
  line=$(head -n 1 /tmp/jobs)
  [ -z "$line" ] && { sleep 1; continue; }
  sed -i 1d /tmp/jobs
  read -r name limit markers gpus command <<< "$line"
  for marker in ${markers//,/ }; do while [ "$marker" != - ] && [ ! -e "/tmp/s/$marker" ]; do sleep 0.5; done; done
  began=$(date +%s); echo "$(date +%T) begins $name" >> /tmp/out/status
  CUDA_VISIBLE_DEVICES=$gpus timeout -k 5 "$limit" bash -c \
    "cd /tmp/w; export PYTHONPATH=/tmp/w/src:/tmp/w/benchmarks:/tmp/site; $command" > "/tmp/out/$name.log" 2>&1
  rc=$?
  echo "$(date +%T) ended $name rc $rc $(( $(date +%s) - began )) s" >> /tmp/out/status
done
