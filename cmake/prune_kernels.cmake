# Compiler flags of the instruction sets, and kernel files built with them.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(PRUNE_X86_KERNELS ON)
else()
  set(PRUNE_X86_KERNELS OFF)
endif()

set(PRUNE_FLAGS_avx2 -mavx2 -mfma -mbmi -mbmi2 -mpopcnt)
set(PRUNE_FLAGS_avx512 ${PRUNE_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
set(PRUNE_FLAGS_avx512bf16 ${PRUNE_FLAGS_avx512} -mavx512vbmi -mavx512vbmi2 -mavx512vnni -mavx512bf16)

# gcc 12 reports its own AVX-512 intrinsics as reading uninitialised values (undefined by intent).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND PRUNE_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  list(APPEND PRUNE_FLAGS_avx512bf16 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

# prune_kernel(target op [isa ...]): adds op/generic.cc, and op/<isa>.cc with the flags of that instruction set
# where the processor is an x86-64. Nothing but kernels may be built with such flags.
function(prune_kernel target op)
  target_sources(${target} PRIVATE ${op}/generic.cc)
  if(PRUNE_X86_KERNELS)
    foreach(isa ${ARGN})
      target_sources(${target} PRIVATE ${op}/${isa}.cc)
      set_source_files_properties(${op}/${isa}.cc PROPERTIES COMPILE_OPTIONS "${PRUNE_FLAGS_${isa}}")
    endforeach()
  endif()
endfunction()
