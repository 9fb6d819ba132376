#!/bin/sh
# cmake/tidy.sh BUILD JOBS [FOLDERS [all]]: clang-tidy over the sources in FOLDERS (default: the product's, libprune|kernels|apps)
# that BUILD compiles; prints findings only. With `all` every one of them is asked everything in .clang-tidy, as `make check` does.
# Without, those that the last 30 commits or the working tree changed, or that include a header which they changed, and all but
# the checks that take over half of the time and find what is seldom written here. Outside of git: every source.
set -eu
build=$1 jobs=$2 folders=${3:-libprune|kernels|apps} depth=${4:-quick}
slow=-bugprone-multiple-statement-macro,-bugprone-sizeof-expression,-bugprone-suspicious-semicolon,-bugprone-undelegated-constructor
slow=$slow,-bugprone-unused-raii,-bugprone-unused-return-value,-bugprone-use-after-move,-misc-definitions-in-headers
slow=$slow,-misc-redundant-expression,-misc-static-assert,-modernize-use-nullptr,-performance-move-const-arg
slow=$slow,-performance-unnecessary-value-param,-readability-container-size-empty,-readability-redundant-control-flow
slow=$slow,-readability-redundant-declaration
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
if [ "$depth" = all ]; then
  slow=
elif git rev-parse --verify -q HEAD >/dev/null 2>&1; then
  files="($(changed | with_includers | tr '\n' '|')none)\$"
fi
echo "clang-tidy: $log"
# The compile commands are gcc's; clang refuses to read what tunes gcc alone.
mkdir -p "$build/tidy"
sed 's/ \\"-mtune-ctrl=[^"]*"//g' "$build/compile_commands.json" >"$build/tidy/compile_commands.json"
if ! run-clang-tidy-14 -quiet -j "$jobs" -p "$build/tidy" ${slow:+-checks="$slow"} "^$PWD/$files" >"$log" 2>&1; then
  grep -A 5 -E 'error:|warning:|Error' "$log" >&2 || cat "$log" >&2
  exit 1
fi
