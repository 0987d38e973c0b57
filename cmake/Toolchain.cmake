# Language, warnings, hardening, sanitizers, ccache, lld. Why clang 19: docs/adr/0008-compiler.md.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
# -fPIE for everything: libraries and programs share one precompiled header.
set(CMAKE_POSITION_INDEPENDENT_CODE OFF)
add_compile_options(-fPIE)

option(GANTRY_HARDENED "Hardening flags for programs that run in production" OFF)
option(GANTRY_FUZZ "Build libFuzzer targets" OFF)
set(GANTRY_SANITIZE "" CACHE STRING "address, undefined or thread: sanitizer for everything but the static programs")
set(GANTRY_SANITIZED OFF)

find_program(CCACHE ccache)
if(CCACHE)
  # The sloppiness is what ccache needs with precompiled headers; set here so that it holds for every way of building.
  set(launcher ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()

add_compile_options(-Wall -Wextra -Wshadow -Werror -fno-strict-overflow
  $<$<COMPILE_LANGUAGE:CXX>:-Wconversion> $<$<COMPILE_LANGUAGE:CXX>:-Wno-sign-conversion>
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-gnu-statement-expression>
  # A field left out of a designated initializer has its default: that is what they are for.
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-designated-field-initializers>)
add_compile_definitions(_GNU_SOURCE)
add_link_options(-fuse-ld=lld)
# Precompiled headers carry no timestamp, so that ccache can share them between checkouts.
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>")

if(GANTRY_HARDENED)
  add_compile_options(-fstack-protector-strong -fstack-clash-protection -fcf-protection=full
    -ftrivial-auto-var-init=zero -D_FORTIFY_SOURCE=3 -D_GLIBCXX_ASSERTIONS)
  add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack,--as-needed)
endif()

if(GANTRY_SANITIZE)
  set(GANTRY_SANITIZED ON)
  add_compile_options(-fsanitize=${GANTRY_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${GANTRY_SANITIZE})
  if(GANTRY_SANITIZE STREQUAL "address")
    # Calls instead of inlined checks: a fifth less to compile. Nothing here is timed.
    add_compile_options(-fsanitize-address-outline-instrumentation)
  endif()
  if(GANTRY_SANITIZE STREQUAL "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)  # a finding fails the test, as the others' do
  endif()
endif()

if(GANTRY_FUZZ)
  # Coverage for libFuzzer in everything that is fuzzed; its main comes with the fuzzers' link.
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_link_options(-fsanitize=fuzzer-no-link)
endif()

# The compiler must handle the coroutine forms we use: compile and run them once, at configure time.
if(NOT GANTRY_COROUTINES_OK)
  try_run(coroutine_run coroutine_compiled ${CMAKE_BINARY_DIR}/coroutine_check
    SOURCES ${CMAKE_SOURCE_DIR}/cmake/coroutine_check.cc
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON
    COMPILE_OUTPUT_VARIABLE coroutine_compile_output RUN_OUTPUT_VARIABLE coroutine_output)
  if(NOT coroutine_compiled OR NOT coroutine_run EQUAL 0)
    message(FATAL_ERROR "this compiler fails cmake/coroutine_check.cc: ${coroutine_output}"
      "${coroutine_compile_output}\nInstall clang-19 and lld-19 (tools/setup does) and configure with "
      "`cmake --preset release`.")
  endif()
  set(GANTRY_COROUTINES_OK ON CACHE INTERNAL "cmake/coroutine_check.cc passed")
endif()
