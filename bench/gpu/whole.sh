#!/bin/bash
# Times whole models on the first GPU, dense beside 2:4 (bf16 and int8) and bitmasks (50, 70 and 80% zeros), random weights in the
# shapes of a real model; then dense beside the bitmasks with --lean:
#   bench/gpu/whole.sh FOLDER [SHAPES] [LAYERS]      SHAPES as in bench/make_checkpoint.py, default llama-1b-like with 16 layers
# PRUNE names the program, default build/cuda/apps/prune/prune. FOLDER gets the models, about five times the dense one's bytes.
set -eu
cd "$(dirname "$0")/../.."
prune=${PRUNE:-build/cuda/apps/prune/prune}
folder=$1 shapes=${2:-llama-1b-like} layers=${3:-16}
mkdir -p "$folder"
{
  python3 bench/make_checkpoint.py "$folder/plain" --shapes "$shapes" --layers "$layers"
  "$prune" "$folder/plain" -o "$folder/dense" --pattern 2:4 --sparsity 0.5 --force --quiet
  "$prune" pack "$folder/dense" -o "$folder/2of4" --format nm --force --quiet
  "$prune" pack "$folder/dense" -o "$folder/2of4-int8" --format nm --values int8 --force --quiet
  for percent in 50 70 80; do
    "$prune" "$folder/plain" -o "$folder/zeros" --pattern unstructured --sparsity 0.$percent --force --quiet
    "$prune" pack "$folder/zeros" -o "$folder/bitmask-$percent" --format bitmask --force --quiet
  done
} > "$folder/log"
"$prune" bench "$folder/bitmask-80" --whole --device cuda --new-tokens 64 --rounds 5 --quiet --beside "$folder/dense" \
  --beside "$folder/2of4" --beside "$folder/2of4-int8" --beside "$folder/bitmask-50" --beside "$folder/bitmask-70"
"$prune" bench "$folder/bitmask-80" --whole --device cuda --lean --new-tokens 64 --rounds 5 --quiet --beside "$folder/dense" \
  --beside "$folder/bitmask-70"
