#!/bin/sh
# cmake/tidy.sh BUILD JOBS [FOLDERS]: clang-tidy over the sources in FOLDERS (default: the product's, libprune|kernels|apps) that
# BUILD compiles; prints findings only.
set -eu
build=$1 jobs=$2 folders=${3:-libprune|kernels|apps}
log=$build/tidy.log
echo "clang-tidy: $log"
# The compile commands are gcc's; clang refuses to read what tunes gcc alone.
mkdir -p "$build/tidy"
sed 's/ \\"-mtune-ctrl=[^"]*"//g' "$build/compile_commands.json" >"$build/tidy/compile_commands.json"
if ! run-clang-tidy-14 -quiet -j "$jobs" -p "$build/tidy" "^$PWD/($folders)/" >"$log" 2>&1; then
  grep -A 5 -E 'error:|warning:|Error' "$log" >&2 || cat "$log" >&2
  exit 1
fi
