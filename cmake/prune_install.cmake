# What `cmake --install` lays down: the header-only API with its CMake package and pkg-config file (component "headers"), and the
# program (component "program").
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/prune)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/libprune/include/prune DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT headers FILES_MATCHING PATTERN "*.h")
install(TARGETS prune EXPORT pruneTargets COMPONENT headers)
install(EXPORT pruneTargets NAMESPACE prune:: DESTINATION ${package_dir} COMPONENT headers)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/pruneConfig.cmake.in ${PROJECT_BINARY_DIR}/pruneConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may break its users. Nothing compiled is in the package: any architecture may use it.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/pruneConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/pruneConfig.cmake ${PROJECT_BINARY_DIR}/pruneConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT headers)

file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_DATADIR}/pkgconfig /)
configure_file(${CMAKE_CURRENT_LIST_DIR}/prune.pc.in ${PROJECT_BINARY_DIR}/prune.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/prune.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig COMPONENT headers)
