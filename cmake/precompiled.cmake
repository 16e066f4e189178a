# SPDX-License-Identifier: AGPL-3.0-only
#
# The system's headers that most files include, parsed once. A file goes on including what it uses: `make lint` compiles
# each without this, and fails where it does not. Only headers that change with the system belong here, so that no edit
# of the project makes everything anew.
option(KMODGUARD_PRECOMPILED "parse the system's headers once for all files" ON)

set(precompiled_standard <algorithm> <array> <chrono> <cstdint> <cstring> <expected> <filesystem> <functional> <map> <memory>
    <optional> <set> <span> <string> <string_view> <utility> <variant> <vector>)
set(precompiled_all ${precompiled_standard} <fmt/format.h>)

# A library of nothing, that others take their precompiled headers from.
function(add_precompiled name libraries headers)
    file(CONFIGURE OUTPUT generated/empty.cpp CONTENT "")
    add_library(${name} STATIC EXCLUDE_FROM_ALL ${PROJECT_BINARY_DIR}/generated/empty.cpp)
    target_link_libraries(${name} PRIVATE ${libraries})
    target_precompile_headers(${name} PRIVATE ${headers})
endfunction()

# What runs once for each command, and not for each request, is compiled to be small: that costs a quarter less to compile, and
# kmodctl touches half as many pages when it starts.
set(compiled_small $<$<CONFIG:RelWithDebInfo,Release>:-Os>)

if(KMODGUARD_PRECOMPILED)
    add_precompiled(kmodguard_precompiled fmt::fmt "${precompiled_all}")
    if(CMAKE_BUILD_TYPE MATCHES "Rel") # else small is as all else
        add_precompiled(kmodguard_precompiled_small fmt::fmt "${precompiled_all}")
        target_compile_options(kmodguard_precompiled_small PRIVATE ${compiled_small})
    endif()
endif()

# Gives a library of the project what it may use: without fmt where it does not link fmt.
function(kmodguard_precompile target small)
    if(small)
        target_compile_options(${target} PRIVATE ${compiled_small})
    endif()
    if(NOT KMODGUARD_PRECOMPILED)
        return()
    endif()
    get_target_property(libraries ${target} LINK_LIBRARIES)
    if(small AND TARGET kmodguard_precompiled_small)
        target_precompile_headers(${target} REUSE_FROM kmodguard_precompiled_small)
    elseif("fmt::fmt" IN_LIST libraries)
        target_precompile_headers(${target} REUSE_FROM kmodguard_precompiled)
    elseif(NOT KMODGUARD_TOGETHER)
        target_precompile_headers(${target} PRIVATE ${precompiled_standard})
    endif()
endfunction()

# Gives a program of unit tests what most of them include.
function(kmodguard_precompile_test target)
    if(NOT KMODGUARD_PRECOMPILED)
        return()
    endif()
    if(NOT TARGET kmodguard_precompiled_tests)
        add_precompiled(kmodguard_precompiled_tests "fmt::fmt;GTest::gtest" "${precompiled_all};<gtest/gtest.h>")
        set_target_properties(kmodguard_precompiled_tests PROPERTIES POSITION_INDEPENDENT_CODE OFF)
        target_compile_options(kmodguard_precompiled_tests PRIVATE -fPIE ${test_compile_options})
    endif()
    target_precompile_headers(${target} REUSE_FROM kmodguard_precompiled_tests)
endfunction()
