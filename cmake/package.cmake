# The Debian package: `cpack -G DEB` in a build directory (tools/package does it all). Included by packaging/.
set(debian ${CMAKE_SOURCE_DIR}/packaging/debian)
set(made ${CMAKE_CURRENT_BINARY_DIR}/debian)

# What ends and removes everything is one text, in tools/uninstall and in postrm, which has no file of ours left to read.
file(READ ${CMAKE_SOURCE_DIR}/packaging/take_down.sh take_down)
foreach(script postinst prerm postrm)
  configure_file(${debian}/${script}.in ${made}/${script} @ONLY FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
    GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
endforeach()
configure_file(${debian}/changelog.in ${made}/changelog @ONLY)
configure_file(${debian}/copyright ${made}/copyright COPYONLY)
file(WRITE ${made}/conffiles "/etc/gantry/config.json\n")
configure_file(${debian}/lay_out.cmake.in ${made}/lay_out.cmake @ONLY)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME gantry)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The Gantry maintainers <root@localhost>")
# With DESTDIR, because /etc is outside of the prefix.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_SCRIPTS ${made}/lay_out.cmake)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "container executor that loses nothing
One long-lived executor per host launches, isolates, supervises and
checkpoints containers for a person at a terminal or for a Mesos-style
framework over HTTP. Containers go on when it is killed, restarted or
upgraded, and are found again.")
# The libraries by dpkg-shlibdeps; addgroup for the group of those who may use the socket.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.54)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, iproute2, nftables")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "criu")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${made}/conffiles ${made}/postinst ${made}/prerm ${made}/postrm)
include(CPack)
