# SPDX-License-Identifier: AGPL-3.0-only
#
# Warnings are errors; hardening is on in every build.
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
                    -Wold-style-cast -Woverloaded-virtual -Wnull-dereference -Wimplicit-fallthrough -Werror)
add_compile_options(-fstack-protector-strong -fno-plt -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
add_link_options(-Wl,-z,relro,-z,now -Wl,--as-needed)
if(CMAKE_BUILD_TYPE MATCHES "Rel")
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 sees null dereferences and uninitialised members inside std::expected and std::optional that are not there.
    add_compile_options(-Wno-null-dereference -Wno-maybe-uninitialized)
endif()
# Lines, for backtraces: what is installed is stripped, and the sanitizers' reports need no more. -g for a debugger.
set(KMODGUARD_DEBUG_INFO "-g1" CACHE STRING "the compiler's option for debug information")
add_compile_options(${KMODGUARD_DEBUG_INFO})
if(KMODGUARD_SANITIZE)
    add_compile_options(-fsanitize=${KMODGUARD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${KMODGUARD_SANITIZE})
    # Of a test's own code, what AddressSanitizer ends by itself (a null pointer, say) is not checked a second time before
    # each access: that would be a quarter of all that is compiled. The code under test has all checks.
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        set(test_compile_options -fno-sanitize=null,alignment,object-size,vptr)
    endif()
endif()
