#!/bin/sh
# cmake/skipped_tests.sh BUILD: says which tests of the last ctest run in the build folder passed only because they
# were skipped, and why. ctest itself shows such a test program as passed.
set -eu
awk '
  / \.\.\. skipped / {  # a Python test: its name is the first word, the reason the rest
    reason = $0; sub(/.*\.\.\. skipped /, "", reason); print "skipped: " $1 ": " reason; next
  }
  /: Skipped$/ { getline reason; next }
  /^\[  SKIPPED \] .* \([0-9]+ ms\)$/ { print "skipped: " $4 ": " reason }
' "$1/Testing/Temporary/LastTest.log" | sort -u
