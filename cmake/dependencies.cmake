# SPDX-License-Identifier: AGPL-3.0-only
#
# What kmodguard stands on; docs/ARCHITECTURE.md says why each is here. scripts/bootstrap installs them.
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(KMOD REQUIRED IMPORTED_TARGET libkmod)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)
pkg_check_modules(LZMA REQUIRED IMPORTED_TARGET liblzma)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(LZ4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(BPF REQUIRED IMPORTED_TARGET libbpf)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(CAP REQUIRED IMPORTED_TARGET libcap)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-cpp)
# The archive, where there is one: cmake/linking.cmake says why.
find_library(KMODGUARD_STATIC_YAML libyaml-cpp.a)
if(KMODGUARD_STATIC_YAML)
    set_property(TARGET PkgConfig::YAML PROPERTY INTERFACE_LINK_LIBRARIES ${KMODGUARD_STATIC_YAML})
endif()
find_path(TOMLPLUSPLUS_INCLUDE toml++/toml.h REQUIRED) # header-only: its .pc file builds it as a library
