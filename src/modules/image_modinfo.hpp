// SPDX-License-Identifier: AGPL-3.0-only
//
// The records of .modinfo: "key=value" strings, each ended by a NUL. Looking for "name=" anywhere in the
// bytes finds it inside other records as well ("parm=xname=allowed"), so records are split first and a key
// counts at the start of one only, as get_next_modinfo of kernel/module/main.c does.
#pragma once

#include "sys/result.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace kmodguard::modules {

/// What .modinfo says, as written: not folded, not checked.
struct Modinfo {
    std::string name;                 ///< name=; empty if there is none (kernels before 4.13 write none)
    std::string vermagic;             ///< the first vermagic=, which is the one the kernel takes
    std::vector<std::string> aliases; ///< every alias=
    std::vector<std::string> depends; ///< the first depends=, split at commas
};

/// The name alone, without allocating for anything else. Fails with `invalid` if the section is not
/// NUL-terminated (the kernel would read on beyond it), or if two name= records differ.
[[nodiscard]] sys::Result<std::string> read_modinfo_name(std::span<const std::byte> section);

/// Everything. Fails as read_modinfo_name does.
[[nodiscard]] sys::Result<Modinfo> read_modinfo(std::span<const std::byte> section);

} // namespace kmodguard::modules
