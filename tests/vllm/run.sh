#!/usr/bin/env bash
# The acceptance tests against a real vLLM on this machine's CPU: installs it at the first run (some minutes,
# 2.5 GB in the user's cache folder), makes a tiny model, starts the servers, runs the tests, ends the servers.
# Needs about 7 GB of memory. Arguments go to pytest. `python` is the one on PATH.
set -euo pipefail
cd "$(dirname "$0")/../.."
python -m tests.vllm.install >/dev/null
METERGATE_TEST_VLLM=1 exec python -m pytest -m vllm --timeout 600 \
    --ignore tests/unit --ignore tests/architecture "$@"
