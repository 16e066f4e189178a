# SPDX-License-Identifier: AGPL-3.0-only
#
# kmodguard_library(<folder> [SMALL] <libraries it may use>... [ALONE <file>...]): one static library of the current folder's
# sources. SMALL: size matters more than speed. ALONE: files that cannot be compiled together with the others, for a helper's
# name.
function(kmodguard_library name)
    cmake_parse_arguments(PARSE_ARGV 1 library SMALL "" ALONE)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
    add_library(kmodguard_${name} STATIC ${sources})
    target_include_directories(kmodguard_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_BINARY_DIR}/generated)
    target_link_libraries(kmodguard_${name} PUBLIC ${library_UNPARSED_ARGUMENTS})
    set_target_properties(kmodguard_${name} PROPERTIES UNITY_BUILD ${KMODGUARD_TOGETHER} UNITY_BUILD_BATCH_SIZE ${KMODGUARD_BATCH})
    set_source_files_properties(${library_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    kmodguard_precompile(kmodguard_${name} ${library_SMALL})
    set_property(GLOBAL APPEND PROPERTY KMODGUARD_FOLDERS kmodguard_${name})
endfunction()
