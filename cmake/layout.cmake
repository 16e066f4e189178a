# SPDX-License-Identifier: AGPL-3.0-only
#
# kmodguard_library(<folder> [SMALL] <libraries it may use>...): one static library of the current folder's sources. SMALL: size
# matters more than speed.
function(kmodguard_library name)
    cmake_parse_arguments(PARSE_ARGV 1 library SMALL "" "")
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
    add_library(kmodguard_${name} STATIC ${sources})
    target_include_directories(kmodguard_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_BINARY_DIR}/generated)
    target_link_libraries(kmodguard_${name} PUBLIC ${library_UNPARSED_ARGUMENTS})
    kmodguard_precompile(kmodguard_${name} ${library_SMALL})
endfunction()
