#!/bin/sh
# pkg_config.sh COMPILER SOURCE PREFIX FOLDER: builds the example with the flags of the installed prune.pc, and runs it.
set -eu
compiler=$1 source=$2 prefix=$3 folder=$4

command -v pkg-config >/dev/null || exit 77  # told to ctest as "skipped"
pc=$(find "$prefix" -name prune.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046  # flags are words
"$compiler" -std=c++20 $(pkg-config --cflags prune) \
  "$source/docs/examples/prune_a_matrix.cc" "$source/test/package/second_unit.cc" -o "$folder/prune_a_matrix_pkg_config"
"$folder/prune_a_matrix_pkg_config"
