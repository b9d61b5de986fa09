#!/usr/bin/env bash
# Writes requirements.lock from pyproject.toml: every platform, every package pinned by hash, no index address in it.
# Run it after changing a dependency; `scripts/lock.sh --upgrade` also takes newer versions of the others.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" install --quiet uv

# Python 3.11 is the oldest supported version; markers in the lock cover the newer ones. The custom command keeps the
# header the same wherever uv lies.
UV_CUSTOM_COMPILE_COMMAND=scripts/lock.sh "$tools/bin/uv" pip compile pyproject.toml \
  --extra dev --extra gguf --extra evals --universal --python-version 3.11 --generate-hashes --quiet \
  --no-emit-index-url --no-emit-find-links --output-file requirements.lock "$@"
