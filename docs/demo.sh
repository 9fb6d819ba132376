#!/bin/sh
# docs/demo.sh PROGRAM FOLDER: prunes the bundled model to 2:4 into FOLDER, checks it, measures what that did to its predictions, packs
# it and times it. Text to calibrate on and to measure on are different pages of this project's documentation.
set -eu
program=$1 folder=$2
model=test/data/docs-llama-4m
pruned=$folder/docs-llama-4m-2of4
calibrated=$folder/docs-llama-4m-2of4-refit

step() {
  echo
  echo "\$ prune $*"
  "$program" "$@"
}

mkdir -p "$folder"
cat docs/*.md >"$folder/calibration.txt"
cat README.md CONTRIBUTING.md SECURITY.md >"$folder/evaluation.txt"
step "$model" -o "$pruned" --sparsity 0.5 --pattern 2:4 --force
step verify "$pruned" --pattern 2:4 --sparsity 0.5 --against "$model"
step "$model" -o "$calibrated" --pattern 2:4 --method refit --calib "$folder/calibration.txt" --seqlen 512 --samples 16 --force
for each in "$model" "$pruned" "$calibrated"; do
  step eval "$each" --text "$folder/evaluation.txt" --seqlen 512
done
step pack "$calibrated" -o "$calibrated-packed" --force
step verify "$calibrated-packed" --against "$calibrated"
step bench "$calibrated-packed"
