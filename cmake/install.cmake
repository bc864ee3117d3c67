# The installed package: the command, the library, its headers, and what find_package(tnl) reads.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tnl)
install(TARGETS tnl EXPORT tnlTargets)
install(TARGETS tnl-command)
install(DIRECTORY include/tnl TYPE INCLUDE)
install(EXPORT tnlTargets NAMESPACE tnl:: DESTINATION ${package_dir})
configure_package_config_file(cmake/tnlConfig.cmake.in ${PROJECT_BINARY_DIR}/tnlConfig.cmake
  INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tnlConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tnlConfig.cmake ${PROJECT_BINARY_DIR}/tnlConfigVersion.cmake
  DESTINATION ${package_dir})
