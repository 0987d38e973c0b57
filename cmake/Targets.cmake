# gantry_library(NAME SOURCES … [LIBS …] [PRIVATE_LIBS …])   a room's library, `gantry_NAME`
# gantry_program(NAME SOURCES … [LIBS …] [STATIC] [UNSANITIZED])  a program in build/PRESET/bin. STATIC needs UNSANITIZED
#   where the tree has a sanitizer, and gives way to it otherwise
# gantry_test(NAME SOURCES … LABEL unit|… [LIBS …] [TIMEOUT s] [SERIAL])  a GoogleTest program, one ctest entry
# PCH: libraries and tests reuse base's precompiled header unless they say NO_PCH.
function(gantry_library name)
  cmake_parse_arguments(arg "NO_PCH" "" "SOURCES;LIBS;PRIVATE_LIBS" ${ARGN})
  add_library(gantry_${name} STATIC ${arg_SOURCES})
  target_include_directories(gantry_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(gantry_${name} PUBLIC ${arg_LIBS} PRIVATE ${arg_PRIVATE_LIBS})
  if(NOT arg_NO_PCH AND TARGET gantry_base)
    target_precompile_headers(gantry_${name} REUSE_FROM gantry_base)
    target_link_libraries(gantry_${name} PUBLIC gantry_base)
  endif()
endfunction()

# Every program that is no test: what a user needs built.
add_custom_target(programs)
# Every test program; those of one label are LABEL_programs.
add_custom_target(test_programs)
foreach(label unit conformance fuzz integration)
  add_custom_target(${label}_programs)
  add_dependencies(test_programs ${label}_programs)
endforeach()

function(gantry_program name)
  cmake_parse_arguments(arg "STATIC;UNSANITIZED;NO_PCH" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  add_dependencies(programs ${name})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LIBS})
  if(NOT arg_NO_PCH)
    target_precompile_headers(${name} REUSE_FROM gantry_base)
    target_link_libraries(${name} PRIVATE gantry_base)
  endif()
  if(arg_UNSANITIZED)
    target_compile_options(${name} PRIVATE -fno-sanitize=all)
    target_link_options(${name} PRIVATE -fno-sanitize=all)
  endif()
  if(arg_STATIC AND (arg_UNSANITIZED OR NOT GANTRY_SANITIZED))
    # A plain static program, not static-pie: no relocation at start, no PT_INTERP.
    target_link_options(${name} PRIVATE -static)
  else()
    target_link_options(${name} PRIVATE -pie)
  endif()
endfunction()

function(gantry_test name)
  cmake_parse_arguments(arg "SERIAL;NO_PCH" "LABEL;TIMEOUT" "SOURCES;LIBS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  add_executable(${name} ${arg_SOURCES})
  add_dependencies(${arg_LABEL}_programs ${name})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} gantry_test_main GTest::gtest)
  if(NOT arg_NO_PCH)
    target_precompile_headers(${name} REUSE_FROM gantry_base)
    target_link_libraries(${name} PRIVATE gantry_base)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT})
  if(arg_SERIAL)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()

# gantry_test_in_guest(NAME…)  tests, of the folder that says it, that tests/guest runs too
function(gantry_test_in_guest)
  set_property(TEST ${ARGN} APPEND PROPERTY LABELS guest)
endfunction()

# gantry_proto_library(NAME FOLDER folder PROTOS a b … RUNTIME libprotobuf|libprotobuf-lite)
# The generated code of FOLDER/*.proto, included as "FOLDER/a.pb.h". Not ours, so without our warnings.
function(gantry_proto_library name)
  cmake_parse_arguments(arg "" "FOLDER;RUNTIME" "PROTOS" ${ARGN})
  set(generated ${CMAKE_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${generated})
  foreach(proto IN LISTS arg_PROTOS)
    list(APPEND outputs ${generated}/${arg_FOLDER}/${proto}.pb.cc ${generated}/${arg_FOLDER}/${proto}.pb.h)
    list(APPEND inputs ${CMAKE_SOURCE_DIR}/${arg_FOLDER}/${proto}.proto)
  endforeach()
  add_custom_command(OUTPUT ${outputs}
    COMMAND protobuf::protoc -I${CMAKE_SOURCE_DIR} --cpp_out=${generated} ${inputs}
    DEPENDS ${inputs} COMMENT "protoc ${arg_FOLDER}")
  add_library(gantry_${name} STATIC ${outputs})
  target_include_directories(gantry_${name} SYSTEM PUBLIC ${generated})
  target_link_libraries(gantry_${name} PUBLIC protobuf::${arg_RUNTIME})
  # Optimized and sanitized the largest would be the longest step of all, three times as long as this.
  target_compile_options(gantry_${name} PRIVATE -w $<$<BOOL:${GANTRY_SANITIZED}>:-O0>)
endfunction()
