# Compiler flags of the instruction sets, and kernel files built with them.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(PRUNE_X86_KERNELS ON)
else()
  set(PRUNE_X86_KERNELS OFF)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(PRUNE_ARM64_KERNELS ON)
else()
  set(PRUNE_ARM64_KERNELS OFF)
endif()

set(PRUNE_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2 -mpopcnt)
set(PRUNE_FLAGS_avx512 ${PRUNE_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
set(PRUNE_FLAGS_avx512bf16 ${PRUNE_FLAGS_avx512} -mavx512vbmi -mavx512vbmi2 -mavx512vnni -mavx512bf16)

# For code that keeps tiles in registers. gcc moves pointers that it runs out of registers for to vector
# registers; reading one back waits behind the multiply-adds that are queued for the vector unit.
set(PRUNE_FLAGS_TILES "")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND PRUNE_X86_KERNELS)
  set(PRUNE_FLAGS_TILES -mtune=znver3 -mtune-ctrl=^inter_unit_moves_to_vec,^inter_unit_moves_from_vec)
endif()

# gcc 12 reports its own AVX-512 intrinsics as reading uninitialised values (undefined by intent).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND PRUNE_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  list(APPEND PRUNE_FLAGS_avx512bf16 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

# prune_kernel(target op [TILES] [isa ...]): adds op/generic.cc where there is one, and op/<isa>.cc with the flags of
# that instruction set where the processor may have it: neon on ARM64, the others on x86-64. Nothing but kernels may be built with such flags.
function(prune_kernel target op)
  cmake_parse_arguments(arg "TILES" "" "" ${ARGN})
  set(tuning "")
  if(arg_TILES)
    set(tuning ${PRUNE_FLAGS_TILES})
  endif()
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${op}/generic.cc)
    target_sources(${target} PRIVATE ${op}/generic.cc)
  endif()
  foreach(isa ${arg_UNPARSED_ARGUMENTS})
    if((isa STREQUAL neon AND PRUNE_ARM64_KERNELS) OR (NOT isa STREQUAL neon AND PRUNE_X86_KERNELS))
      target_sources(${target} PRIVATE ${op}/${isa}.cc)
      set_source_files_properties(${op}/${isa}.cc PROPERTIES COMPILE_OPTIONS "${PRUNE_FLAGS_${isa}};${tuning}")
    endif()
  endforeach()
endfunction()
