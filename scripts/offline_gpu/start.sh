#!/usr/bin/env bash
# start.sh QUEUE: copies the tree aside (each call lays it anew), unpacks the packages, and starts a queue in a session of its own.
mkdir -p /tmp/w /tmp/site /tmp/s /tmp/out /tmp/m /tmp/reports
cp -r benchmarks docs scripts src tests pyproject.toml README.md .carry /tmp/w/
tar xJf .p/site-00/p -C /tmp/site
cp "scripts/offline_gpu/queue/${1:-studies}" /tmp/jobs
setsid nohup bash /tmp/w/scripts/offline_gpu/work.sh > /tmp/out/work.log 2>&1 < /dev/null &
ls /tmp/site | wc -l; nvidia-smi -L
