# Fails when an object of LIBRARY that is built for one instruction set (avx2.cc.o, avx512*.cc.o) defines a weak
# or unique symbol, or when there is no such object.
execute_process(COMMAND ${NM} -A -C --defined-only ${LIBRARY} OUTPUT_VARIABLE symbols RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${NM} failed on ${LIBRARY}")
endif()
string(REGEX MATCHALL "[^\n]*:avx[a-z0-9]*\\.cc\\.o:[^\n]*" kernels "${symbols}")
if(NOT kernels)
  message(FATAL_ERROR "no kernel objects in ${LIBRARY}")
endif()
string(REGEX MATCHALL "[^\n]*:avx[a-z0-9]*\\.cc\\.o:[0-9a-f]* [VvWwu] [^\n]*" weak "${symbols}")
# Sanitizers add their own.
list(FILTER weak EXCLUDE REGEX "DW\\.ref|[aut]san|__ubsan|__odr_asan")
if(weak)
  list(JOIN weak "\n" lines)
  message(FATAL_ERROR "weak symbols in kernel objects:\n${lines}")
endif()
