#!/bin/bash
# Measures products of the named weight shapes on this machine's GPU, for `prune bench --gpu-table` and prune::GpuTable to choose by:
#   bench/gpu/tune.sh FOLDER OUTxIN...        for example: bench/gpu/tune.sh h100 4096x4096 14336x4096 4096x14336
# Builds with CUDA and g++ alone; writes FOLDER/*.json. Some 15 s a shape. OUT and IN are multiples of 128.
set -eu
if [ $# -lt 2 ]; then
  sed -n '2,4p' "$0" | cut -c3- >&2
  exit 2
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/../.."
build=${BUILD:-build/gpu-make}
shapes=()
for shape in "$@"; do shapes+=(--shape "$shape"); done
programs="decode24 gemm24 decode_bitmask decode_csr decode_relative decode_bsr gemm_bsr"
# shellcheck disable=SC2086  # one word a program
make -s -j "$(nproc)" -f bench/gpu/Makefile BUILD="$build" $(printf "$build/%s_bench " $programs)
for program in $programs; do "$build/${program}_bench" --json "$folder/$program.json" "${shapes[@]}"; done
