# SPDX-License-Identifier: AGPL-3.0-only
#
# How long a program takes to start: for a verb of kmodctl that asks the daemon, the dynamic linker's work was nine tenths of all.
#
# kmodguard_quick_start(<program> [LAZY <libraries>...]): the C++ library, fmt and yaml-cpp become part of the program, as
# their names are most of what the dynamic linker looks up; LAZY libraries (targets of pkg_check_modules) are loaded when
# one of their functions is first called (src/linking/lazy_libraries.hpp). Where a part of that cannot be done, the program is linked
# in the ordinary way.
option(KMODGUARD_QUICK_START "link the C++ library statically, and load most libraries when they are first needed" ON)
set(KMODGUARD_QUICK ${KMODGUARD_QUICK_START})
if(KMODGUARD_SANITIZE OR NOT KMODGUARD_STATIC_YAML)
    set(KMODGUARD_QUICK OFF) # a shared yaml-cpp would bring the C++ library a second time
endif()
set(KMODGUARD_LAZY ${KMODGUARD_QUICK})
if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
    set(KMODGUARD_LAZY OFF)
endif()

function(kmodguard_quick_start program)
    cmake_parse_arguments(PARSE_ARGV 1 start "" "" LAZY)
    target_link_libraries(${program} PRIVATE kmodguard_linking)
    if(NOT KMODGUARD_QUICK)
        return()
    endif()
    target_sources(${program} PRIVATE $<TARGET_OBJECTS:kmodguard_fmt>)
    target_link_options(${program} PRIVATE -static-libstdc++ -static-libgcc)
    if(NOT KMODGUARD_LAZY OR NOT start_LAZY)
        return()
    endif()
    get_property(folders GLOBAL PROPERTY KMODGUARD_FOLDERS)
    set(archives ${folders})
    list(TRANSFORM archives REPLACE "(.+)" "$<TARGET_FILE:\\1>")
    set(shared "")
    foreach(library IN LISTS start_LAZY)
        list(APPEND shared ${${library}_LINK_LIBRARIES})
    endforeach()
    list(REMOVE_DUPLICATES shared)
    set(stubs ${CMAKE_CURRENT_BINARY_DIR}/${program}_lazy.S)
    add_custom_command(
        OUTPUT ${stubs}
        COMMAND ${PROJECT_SOURCE_DIR}/scripts/lazy-symbols ${shared} -- ${archives} > ${stubs}
        DEPENDS ${PROJECT_SOURCE_DIR}/scripts/lazy-symbols ${folders} ${shared}
        VERBATIM)
    target_sources(${program} PRIVATE ${stubs} ${PROJECT_SOURCE_DIR}/src/linking/lazy_libraries.cpp)
    set_source_files_properties(${stubs} PROPERTIES INCLUDE_DIRECTORIES ${PROJECT_SOURCE_DIR}/src
                                OBJECT_DEPENDS ${PROJECT_SOURCE_DIR}/src/linking/lazy_stubs.inc)
    target_compile_definitions(${program} PRIVATE KMODGUARD_LAZY_LIBRARIES)
endfunction()
