#!/usr/bin/env bash
# hold.sh SECONDS: a script that came along as .carry/once/NAME.sh (once each), a wait, where things stand, results into $OUT.
for f in .carry/once/*.sh; do [ -e "$f" ] && [ ! -e "/tmp/s/$(basename "$f")" ] && { touch "/tmp/s/$(basename "$f")"; bash "$f" 2>&1 | tail -n 20; }; done
sleep "${1:-15}"
date +%T; tail -n 12 /tmp/out/status; nvidia-smi --query-gpu=memory.used,utilization.gpu --format=csv,noheader; free -g | sed -n 2p; uptime | sed 's/.*load/load/'
for f in $(ls -t /tmp/out/*.log | head -n 3); do echo "== $f"; tail -c 700 "$f" | tr '\r' '\n' | tail -n 3 | cut -c 1-260; done
(cd /tmp && tar czf "$OUT/results.tar.gz" --exclude=logs out reports treated/*.json treated/*.md 2> /dev/null)
n=$(ls -d /tmp/rows-* 2> /dev/null | wc -l)
PYTHONPATH=/tmp/w/src:/tmp/site python3 /tmp/w/scripts/offline_gpu/rows.py /dev/shm/store "/tmp/rows-$n" /tmp/s/sent 2>&1 | tail -n 1
for f in /tmp/rows-*/*.tar.gz; do
  [ -e "$f" ] && [ ! -e "$f.sent" ] && [ "$(ls "$OUT" | wc -l)" -lt 8 ] && cp "$f" "$OUT/$(basename "$(dirname "$f")")-$(basename "$f")" && touch "$f.sent"
done
ls "$OUT" | tr '\n' ' '
