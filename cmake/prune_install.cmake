# What `cmake --install` lays down, by component:
#   headers    the header-only API, its CMake package and its pkg-config file: the same on every machine
#   libraries  the compiled libraries prune::kernels, prune::io and prune::model, as components of that CMake package; what runs on
#              a GPU (prune::cuda, prune::model_cuda) is of the source tree only
#   program    prune
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/prune)
set(libraries_dir ${CMAKE_INSTALL_LIBDIR}/cmake/prune)
# What the compiled libraries need to link.
set(library_dependencies DNNL nlohmann_json OpenMP TextLibraries)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/libprune/include/prune DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT headers FILES_MATCHING PATTERN "*.h")
install(TARGETS prune EXPORT pruneTargets COMPONENT headers)
install(EXPORT pruneTargets NAMESPACE prune:: DESTINATION ${package_dir} COMPONENT headers)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/pruneConfig.cmake.in ${PROJECT_BINARY_DIR}/pruneConfig.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS libraries_dir NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may break its users.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/pruneConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/pruneConfig.cmake ${PROJECT_BINARY_DIR}/pruneConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT headers)

file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_DATADIR}/pkgconfig /)
configure_file(${CMAKE_CURRENT_LIST_DIR}/prune.pc.in ${PROJECT_BINARY_DIR}/prune.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/prune.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig COMPONENT headers)

if(PRUNE_BUILD_LIBRARIES)
  install(TARGETS prune_kernels prune_io prune_model EXPORT pruneLibraries COMPONENT libraries)
  install(EXPORT pruneLibraries NAMESPACE prune:: DESTINATION ${libraries_dir} COMPONENT libraries)
  install(FILES ${CMAKE_CURRENT_LIST_DIR}/FindDNNL.cmake ${CMAKE_CURRENT_LIST_DIR}/FindTextLibraries.cmake
    DESTINATION ${libraries_dir} COMPONENT libraries)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/libprune/io ${PROJECT_SOURCE_DIR}/libprune/model
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/libprune/libprune COMPONENT libraries
    FILES_MATCHING PATTERN "*.h" PATTERN "cuda" EXCLUDE)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/kernels/sparse DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/libprune/kernels
    COMPONENT libraries FILES_MATCHING PATTERN "*.h"
    PATTERN "cuda" EXCLUDE PATTERN "decode*" EXCLUDE PATTERN "gemm*" EXCLUDE REGEX "spmm_bitmask/panel" EXCLUDE)
endif()
