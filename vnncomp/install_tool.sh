#!/usr/bin/env bash
# VNN-COMP: install_tool.sh v1. Sets up .venv beside this folder with pinned versions, and says what is usable.
set -euo pipefail
if [ "${1:-}" != v1 ]; then
    echo "usage: install_tool.sh v1 (got '${1:-}')" >&2
    exit 1
fi
cd "$(dirname "$0")/.."
make setup
.venv/bin/sokbench doctor
