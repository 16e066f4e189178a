// SPDX-License-Identifier: AGPL-3.0-only
//
// All entries of one of depmod's indexes (modules.alias.bin and its like: kmod, libkmod/libkmod-index.c).
// libkmod looks up one key at a time; all of them it writes out as text, without the priorities by which it
// orders what one key leads to, and without saying whether it could write all. So the file is read here: it
// is a tree of nodes, each with the text that all keys below it go on with.
#pragma once

#include "sys/result.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::modules {

struct DepmodEntry {
    std::string key;
    std::string value;
    std::uint32_t priority = 0; ///< of the values of one key the lower ones come first

    auto operator<=>(const DepmodEntry&) const = default;
};

/// The entries of the index `file`, in the order of the tree; all of them or, if it is not one, or is damaged
/// or larger than 256 MiB, an error.
[[nodiscard]] sys::Result<std::vector<DepmodEntry>> read_depmod_index(const std::filesystem::path& file);

/// The same of the bytes of one, which are hostile. `shown_as` names it in errors.
[[nodiscard]] sys::Result<std::vector<DepmodEntry>> parse_depmod_index(std::string_view bytes,
                                                                       std::string_view shown_as);

} // namespace kmodguard::modules
