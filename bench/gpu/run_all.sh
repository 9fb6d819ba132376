#!/bin/bash
# Builds the GPU kernels with CUDA and g++ alone, tests them, runs the sanitizers, checks the machine code and measures, in one call
# of less than nine minutes on one Hopper GPU (353 s with an H200 and 16 processors):
#   bench/gpu/run_all.sh [RESULTS]        from anywhere; RESULTS is a folder, default build/gpu-results
# Writes the logs, a JSON file for each benchmark program (as Google Benchmark does), and summary.txt, which it also prints.
# Exits 1 when a test, a sanitizer or the check of the machine code fails. cuSPARSELt is measured when it is found: CUSPARSELT names
# its folder (include/, lib/); the wheel that comes with PyTorch is found by itself. cuSPARSE and
# cuBLASLt are the loader's, or PRUNE_CUSPARSE_LIBRARY's and PRUNE_CUBLASLT_LIBRARY's. The commit that the results name is
# PRUNE_GIT_COMMIT, which a copy of the tree without git needs, or git's.
set -u
cd "$(dirname "$0")/../.."
results=$(mkdir -p "${1:-build/gpu-results}" && cd "${1:-build/gpu-results}" && pwd)
build=${BUILD:-build/gpu-make}
rm -f "$results/failed"
export PRUNE_GIT_COMMIT=${PRUNE_GIT_COMMIT:-$(git describe --always --dirty --abbrev=12 2> /dev/null || echo unknown)}
tests="gemm24 gemm_bsr decode24 decode_relative decode_bsr decode_bitmask decode_csr pack24 transposable"
benches="decode24 gemm24 gemm24_8bit decode_bsr decode_bitmask decode_csr decode_relative gemm_bsr passes"

if [ -z "${CUSPARSELT:-}" ] && command -v python3 > /dev/null; then
  CUSPARSELT=$(python3 -c 'import nvidia.cusparselt as p; print(list(p.__path__)[0])' 2> /dev/null)
fi
include=
if [ -f "${CUSPARSELT:-}/include/cusparseLt.h" ]; then
  include=$CUSPARSELT/include
  export PRUNE_CUSPARSELT_LIBRARY=$CUSPARSELT/lib/libcusparseLt.so.0
fi

step() {  # step NAME SECONDS COMMAND...: its output to a log; a failure is noted
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  if timeout "$limit" "$@" > "$results/$name.log" 2>&1; then
    printf '%-22s ok      %3d s  %s\n' "$name" $((SECONDS - begin)) "$(grep -E 'checks|SUMMARY' "$results/$name.log" | tr '\n' ' ')"
  else
    printf '%-22s FAILED  %3d s  see %s\n' "$name" $((SECONDS - begin)) "$results/$name.log"
    echo "$name" >> "$results/failed"
  fi
}

beside() {  # a step in the background, twice as many at once as there are processors
  while [ "$(jobs -rp | wc -l)" -ge $((2 * $(nproc))) ]; do wait -n; done
  step "$@" &
}

machine_code() {  # the sparse instructions that are meant, and nothing in local memory
  local bad=0 sass object dump instruction
  grep -h 'spill stores' "$build"/kernels/sparse/*/*.o.log | grep -v ' 0 bytes spill stores, 0 bytes spill loads' && bad=1
  grep -h 'C75' "$build"/kernels/sparse/*/*.o.log && bad=1
  local -A meant=(  # what each object must hold
    [spmm_nm/decode24_sm90a]="HMMA.SP.16832.F32"
    [spmm_nm/gemm24_sm80]="HMMA.SP.16832.F32 IMMA.SP.16864.S8.S8"
    [spmm_nm/gemm24_sm90a]="HGMMA.SP.64x256x32.F32 HGMMA.SP.64x16x32.F32 IGMMA.SP.64x256x64.S8.S8
                            QGMMA.SP.64x256x64.F32.E4M3.E4M3 QGMMA.SP.64x128x64.F32.E4M3.E4M3"
    [spmm_bsr/decode_bsr]="HMMA.16816.F32" [spmm_bsr/gemm_bsr_sm90a]="HGMMA.64x256x16.F32"
    [spmm_bitmask/decode_bitmask]="HMMA.16816.F32" [spmm_csr/decode_csr]="LDS.128" [spmm_relative/decode_relative]="LDS.128 IDP.4A HMMA.16816.F32 LDSM")
  sass=$(mktemp -d)
  for object in "${!meant[@]}"; do
    cuobjdump --dump-sass "$build/kernels/sparse/$object.o" > "$sass/${object//\//-}" &
  done
  wait
  for object in "${!meant[@]}"; do
    dump=$sass/${object//\//-}
    for instruction in ${meant[$object]}; do
      echo "$object: $(grep -c "$instruction" "$dump") x $instruction, $(grep -cE '\b(LDL|STL)\b' "$dump") local accesses"
      grep -q "$instruction" "$dump" || bad=1
    done
    grep -qE '\b(LDL|STL)\b' "$dump" && bad=1
  done
  rm -r "$sass"
  return $bad
}

# Of one call of a kernel: memory, L2, what comes from there, issue slots, first-level cache, shared memory and tensor cores, in percent of
# what they can do.
counted=gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed,lts__t_sectors.avg.pct_of_peak_sustained_elapsed
counted+=,sm__inst_issued.avg.pct_of_peak_sustained_active,l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed
counted+=,l1tex__data_pipe_lsu_wavefronts_mem_shared.avg.pct_of_peak_sustained_elapsed
counted+=,sm__warps_active.avg.pct_of_peak_sustained_active,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active
counted+=,l1tex__m_xbar2l1tex_read_bytes.avg.pct_of_peak_sustained_elapsed
counters() {  # counters NAME PROGRAM KERNEL OPTION...: Nsight Compute's CSV of the kernel's calls, each case once
  PRUNE_BENCH_ONCE=1 ncu --clock-control none --csv --page raw --metrics "$counted" --kernel-name "regex:$3" \
    --log-file "$results/counters_$1.csv" "$build/$2_bench" "${@:4}"
  grep -q dram__throughput "$results/counters_$1.csv"
}

summary() {
  date -u '+%Y-%m-%d %H:%M UTC'
  nvidia-smi --id=0 --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw --format=csv,noheader
  nvcc --version | grep release
  step build 200 make -s -j "$(nproc)" -f bench/gpu/Makefile BUILD="$build" CUSPARSELT_INCLUDE="$include"
  for name in $benches; do step "${name}_bench" 150 "$build/${name}_bench" --json "$results/$name.json"; done
  nvidia-smi --id=0 --query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv,noheader
  local small="--shape 4096x4096" large="--shape 8192x8192"
  if command -v ncu > /dev/null && counters decode_csr decode_csr decode_csr_kernel --shape 8192x8192 > "$results/counters.log" 2>&1; then
    for name in decode_csr decode_relative decode_bitmask decode_bsr decode24 gemm_bsr; do
      step "counters-$name" 60 bash -c "counters $name $name ${name}_kernel $small $large"
    done
    step counters-gemm24 60 bash -c "counters gemm24 gemm24 gemm24_kernel --least 32 $small $large"
    step counters-gemm24_long 60 bash -c 'counters gemm24_long gemm24 gemm24_kernel --least 4096 --shape 4096x14336 --shape 28672x8192'
    step counters-gemm24_mma 60 bash -c "counters gemm24_mma gemm24 gemm24_mma --least 4096 --most 4096 $large"
    step counters-gemm24_8bit 60 bash -c "counters gemm24_8bit gemm24_8bit gemm24_kernel --tokens 4096 $large"
  else
    echo "counters               skipped: ncu is missing or cannot read them here; see $results/counters.log"
  fi
  # Alone until here, as what is measured must be. What checks waits for itself most of the time: side by side, long ones first.
  export OMP_WAIT_POLICY=passive
  for name in $tests; do OMP_NUM_THREADS=$(($(nproc) / 2)) beside "${name}_test" 240 "$build/${name}_test"; done
  beside machine_code 60 bash -c machine_code
  if command -v compute-sanitizer > /dev/null; then
    for tool in racecheck memcheck initcheck synccheck; do
      for name in $tests; do
        # See Extent in test/kernels/cuda/decode24_test.cc.
        plans=
        [ "$tool-$name" = racecheck-decode24 ] && plans=resident
        OMP_NUM_THREADS=1 beside "$tool-$name" 200 compute-sanitizer --error-exitcode 1 --tool $tool "$build/${name}_test" quick $plans
      done
    done
  fi
  wait
  cat "$results/machine_code.log"
  for name in $benches; do cat "$results/${name}_bench.log"; done
  [ ! -e "$results/failed" ]
}

export build results counted
export -f machine_code counters  # timeout runs them in a shell of its own
set -o pipefail
summary | tee "$results/summary.txt"
