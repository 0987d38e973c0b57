# Every library we build on, found once. Debian package names: tools/packages.txt.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(Protobuf REQUIRED)
find_package(GTest REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
find_package(LibArchive REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(GLOG REQUIRED IMPORTED_TARGET libglog)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(NL_ROUTE REQUIRED IMPORTED_TARGET libnl-route-3.0)
pkg_check_modules(NFTABLES REQUIRED IMPORTED_TARGET libnftables)

# RapidJSON 1.1 assigns to a const member in GenericStringRef::operator=, never instantiated; clang 19 refuses the text.
# A corrected copy of that one header goes first.
find_path(RAPIDJSON_DIR rapidjson/document.h REQUIRED)
file(READ ${RAPIDJSON_DIR}/rapidjson/document.h rapidjson_document)
string(REPLACE "{ s = rhs.s; length = rhs.length; }" "= delete;" rapidjson_document "${rapidjson_document}")
string(REPLACE "#include \"" "#include \"rapidjson/" rapidjson_document "${rapidjson_document}")
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/corrected/rapidjson/document.h CONTENT "${rapidjson_document}" @ONLY)
include_directories(BEFORE SYSTEM ${CMAKE_BINARY_DIR}/corrected)
