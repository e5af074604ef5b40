# The installed package: headers, static library, CMake package and pkg-config file. The libraries
# that mxferry is built with are private, but a static library leaves linking them to its user.
include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/mxferry)
install(TARGETS mxferry EXPORT mxferry-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/mxferry DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT mxferry-targets NAMESPACE mxferry:: DESTINATION ${package_folder})

configure_package_config_file(cmake/mxferry-config.cmake.in mxferry-config.cmake
                              INSTALL_DESTINATION ${package_folder})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(mxferry-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mxferry-config.cmake
              ${PROJECT_BINARY_DIR}/mxferry-config-version.cmake
        DESTINATION ${package_folder})

# The file finds the prefix from its own place, so that the package can be moved and
# `cmake --install --prefix` can choose one late.
file(RELATIVE_PATH prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/mxferry.pc.in mxferry.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/mxferry.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
