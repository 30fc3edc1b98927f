#!/usr/bin/env bash
# VNN-COMP: prepare_instance.sh v1 CATEGORY ONNX VNNLIB. Nothing is converted beforehand: checks that the files are
# there, and reads the tool and its libraries once, so that a cold disk is not charged to the first instance.
set -euo pipefail
if [ "${1:-}" != v1 ] || [ $# -ne 4 ]; then
    echo "usage: prepare_instance.sh v1 CATEGORY ONNX VNNLIB" >&2
    exit 1
fi
for file in "$3" "$4"; do
    if [ ! -r "$file" ]; then
        echo "no such file: $file" >&2
        exit 1
    fi
done
bin="${SOKBENCH_BIN:-$(dirname "$0")/../.venv/bin}"
"$bin/python" -c "import torch, onnx, highspy, sokbench.networks"
