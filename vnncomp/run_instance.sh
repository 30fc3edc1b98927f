#!/usr/bin/env bash
# VNN-COMP: run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT.
# RESULTS gets unsat (the property holds), sat with the counterexample, timeout, unknown or error. TIMEOUT is for
# everything, so what the start takes is left out of what the search gets.
set -euo pipefail
if [ "${1:-}" != v1 ] || [ $# -ne 6 ]; then
    echo "usage: run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT" >&2
    exit 1
fi
onnx="$3" vnnlib="$4" results="$5" timeout="$6"
bin="${SOKBENCH_BIN:-$(dirname "$0")/../.venv/bin}"
started="${SOKBENCH_START_SECONDS:-4}"
limit="$(awk -v t="$timeout" -v s="$started" 'BEGIN { l = t - s; print (l > t / 2 ? l : t / 2) }')"
rm -f "$results"
code=0
"$bin/sokbench" verify "$onnx" "$vnnlib" --limit "$limit" --result "$results" ${SOKBENCH_METHOD:+--method "$SOKBENCH_METHOD"} >/dev/null || code=$?
[ -s "$results" ] || echo error >"$results"
# unknown and unsupported are results; anything else that went wrong has said so on standard error
[ "$code" -eq 0 ] || [ "$code" -eq 3 ] || exit "$code"
