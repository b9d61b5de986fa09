#!/usr/bin/env bash
# piece.sh NAME NN [SHA256 | tar]: keeps a piece. With a digest, puts the model together and converts it; with "tar", unpacks
# the pieces into /tmp/NAME. Both in a session of their own.
# They keep to the last four cores: a benchmark may be at work on the others.
quiet="taskset -c $(( $(nproc) - 4 ))-$(( $(nproc) - 1 ))"
mkdir -p "/tmp/pieces/$1" /tmp/m /tmp/s && mv ".p/$1-$2/p" "/tmp/pieces/$1/$2"
[ -e /tmp/out/status ] && tail -n 1 /tmp/out/status
[ -n "$3" ] || exit 0
if [ "$3" = tar ]; then
  setsid nohup $quiet bash -c "mkdir -p /tmp/$1 && cat /tmp/pieces/$1/* | tar xJf - -C /tmp/$1 && touch /tmp/s/$1.ok" < /dev/null > /dev/null 2>&1 &
  exit 0
fi
cat "/tmp/pieces/$1"/* > "/tmp/m/$1.gguf" && rm -rf "/tmp/pieces/$1"
echo "$3  /tmp/m/$1.gguf" | sha256sum -c || exit 1
export OFFMODEL_STORE=/dev/shm/store PYTHONPATH=/tmp/w/src:/tmp/site OMP_NUM_THREADS=4 PYTHONWARNINGS=ignore
setsid nohup $quiet bash -c "python3 /tmp/w/scripts/offline_gpu/convert.py /tmp/m/$1.gguf > /tmp/out/conv-$1.log 2>&1 && touch /tmp/s/conv-$1.ok" \
  < /dev/null > /dev/null 2>&1 &
