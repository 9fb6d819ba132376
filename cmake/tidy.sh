#!/bin/sh
# cmake/tidy.sh BUILD JOBS [FOLDERS [all]]: clang-tidy over the sources in FOLDERS (default: the product's, libprune|kernels|apps)
# that BUILD compiles, as .clang-tidy says; prints findings only. Over all of them with `all`, as `make check` does, and outside
# of git; else, as they take minutes, over those that the last 30 commits or the working tree changed, or that include a header
# which they changed.
set -eu
build=$1 jobs=$2 folders=${3:-libprune|kernels|apps} which=${4:-changed}
log=$build/tidy.log

changed() {
  { git log -n 30 --name-only --pretty= && git diff --name-only HEAD; } | grep -E "^($folders)/.*\.(cc|h)$" | sort -u
}
with_includers() {
  while read -r file; do
    case $file in
      *.cc) echo "$file" ;;
      *) grep -rlE "#include [\"<]${file#libprune/include/}[\">]" --include=*.cc libprune kernels apps || true ;;
    esac
  done | sort -u
}

files="($folders)/"
if [ "$which" != all ] && git rev-parse --verify -q HEAD >/dev/null 2>&1; then
  files="($(changed | with_includers | tr '\n' '|')none)\$"
fi
echo "clang-tidy: $log"
# The compile commands are gcc's; clang refuses to read what tunes gcc alone.
mkdir -p "$build/commands"
sed 's/ \\"-mtune-ctrl=[^"]*"//g' "$build/compile_commands.json" >"$build/commands/compile_commands.json"
if ! run-clang-tidy-14 -quiet -j "$jobs" -p "$build/commands" "^$PWD/$files" >"$log" 2>&1; then
  grep -A 5 -E 'error:|warning:|Error' "$log" >&2 || cat "$log" >&2
  exit 1
fi
