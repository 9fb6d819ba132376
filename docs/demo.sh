#!/bin/sh
# docs/demo.sh PROGRAM FOLDER: prunes the bundled model to 2:4 into FOLDER, checks it, packs it and times it.
set -eu
program=$1 folder=$2
model=test/data/docs-llama-4m
pruned=$folder/docs-llama-4m-2of4

step() {
  echo
  echo "\$ prune $*"
  "$program" "$@"
}

mkdir -p "$folder"
step "$model" -o "$pruned" --sparsity 0.5 --pattern 2:4 --force
step verify "$pruned" --pattern 2:4 --sparsity 0.5 --against "$model"
step pack "$pruned" -o "$pruned-packed" --force
step verify "$pruned-packed" --against "$pruned"
step bench "$pruned-packed"
