# How every target of this project is compiled, said once.

include(GNUInstallDirs)

set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Repeated builds of the presets share what did not change.
if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(PRUNE_CCACHE ccache)
  if(PRUNE_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${PRUNE_CCACHE})
  endif()
endif()

# Warnings, language level and sanitizers for the project's own sources; users of the header-only target get
# the language level alone.
function(prune_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>)
  # gcc 12 sees overlapping copies in "text" + std::string of its own library.
  target_compile_options(${target} PRIVATE
    $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
  if(PRUNE_WERROR)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
  if(PRUNE_SANITIZE)
    target_compile_options(${target} PUBLIC
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${PRUNE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
    # A null pointer that is used stops a sanitized program anyway, and AddressSanitizer knows the sizes of objects; asking at
    # each use is a fifth of the build's time.
    target_compile_options(${target} PUBLIC $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize=null,object-size>)
    target_link_options(${target} PUBLIC -fsanitize=${PRUNE_SANITIZE})
    # gcc warns of its own <regex> where sanitizers keep it from seeing through.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized>)
  endif()
endfunction()

# prune_precompile(target <header>...): headers that take longer to read than most sources that include them. Only in presets
# that say so: elsewhere, and for clang-tidy, a missing #include must not go unnoticed.
function(prune_precompile target)
  if(PRUNE_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# prune_unite(target): eight sources a compiler run, which reads headers and instantiates templates once for all of them: half of the
# time. Only in presets that say so: alone, as clang-tidy reads it, a source must say what it includes.
function(prune_unite target)
  if(PRUNE_UNITE)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    # A class that a source keeps to itself may hold others of its unnamed namespace; united, gcc takes the source for a header.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
  endif()
endfunction()

# prune_library(name SOURCES...): a compiled library of the project, alias prune::name-without-prefix. Its headers are
# included by their path from the repository's root, also where they are installed.
function(prune_library target)
  add_library(${target} STATIC ${ARGN})
  prune_compile_options(${target})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/libprune>)
  string(REGEX REPLACE "^prune_" "" short ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${short})
  add_library(prune::${short} ALIAS ${target})
endfunction()

# prune_test(name SOURCES a.cc LIBRARIES x y [LABELS l] [TIMEOUT seconds] [PARTS]): one GoogleTest program, one ctest entry.
# PARTS: of parts that the tests of the program use too; without PRUNE_TEST_PARTS it is built when asked for only.
function(prune_test name)
  cmake_parse_arguments(arg "PARTS" "TIMEOUT" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  add_executable(${name} ${arg_SOURCES})
  prune_compile_options(${name})
  if(PRUNE_SANITIZE)
    # Pointers into files are made in the libraries, which are asked; in tests it is Eigen that is asked, a fifth of the time.
    target_compile_options(${name} PRIVATE -fno-sanitize=alignment)
  endif()
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} GTest::gtest_main GTest::gmock)
  if(arg_PARTS AND NOT PRUNE_TEST_PARTS)
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
    return()
  endif()
  add_test(NAME ${name} COMMAND ${name})
  # Threads that wait must not take the processor from tests that run beside.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
    ENVIRONMENT "OMP_WAIT_POLICY=passive")
endfunction()
