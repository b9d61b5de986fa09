#!/usr/bin/env bash
# pack.sh MODELS PIECES: models and packages in pieces of 45 MiB, each in a folder of its own. PYTHON names a Python 3.12 (default: python3.12).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); models=$1 pieces=$2; mkdir -p "$pieces"
work=$(mktemp -d)
# What the machine has is not carried: an environment with its versions says what is missing beside it.
"${PYTHON:-python3.12}" -m venv "$work/has"
"$work/has/bin/pip" install -q torch==2.11.0 transformers==5.17.0 peft==0.21.0 accelerate safetensors numpy scipy matplotlib typer rich \
  filelock jinja2 packaging requests httpx pyyaml regex sentencepiece psutil pandas pyarrow aiohttp fsspec anyio click attrs
"$work/has/bin/pip" freeze | cut -d= -f1 | tr 'A-Z_' 'a-z-' | sort > "$work/before"
"$work/has/bin/pip" install -q -r "$here/packages.txt"
# pydantic and its parts came with the first list's packages, yet the machine lacks them.
"$work/has/bin/pip" freeze | while IFS= read -r line; do
  name=$(echo "${line%%=*}" | tr 'A-Z_' 'a-z-')
  case $name in pydantic*|annotated-types|typing-inspection|python-dotenv) echo "$line" ;;
    *) grep -qx "$name" "$work/before" || echo "$line" ;; esac
done > "$work/missing"
"$work/has/bin/pip" install -q --no-deps --no-compile --target "$work/site" -r "$work/missing"
rm -rf "$work"/site/inspect_ai/_view/dist "$work"/site/inspect_ai/binaries "$work"/site/botocore/data "$work"/site/debugpy
mkdir -p "$pieces/site-00" && (cd "$work/site" && tar cf - . | xz -T2 -3) > "$pieces/site-00/p"
for file in "$models"/*.gguf; do
  name=$(basename "$file" .gguf)
  split -b 45m -d -a 2 "$file" "$work/p."
  for part in "$work"/p.*; do mkdir -p "$pieces/$name-${part##*.}" && mv "$part" "$pieces/$name-${part##*.}/p"; done
  sha256sum "$file"
done
rm -rf "$work"; du -sh "$pieces"/*-00; ls "$pieces" | wc -l
