// SPDX-License-Identifier: AGPL-3.0-only
//
// The structures of a compiled index, as compile.cpp writes and index.cpp reads them.
#pragma once

#include "compiled/file.hpp"

#include <cstdint>

namespace kmodguard::compiled {

/// The one entry of Table::identity.
struct IndexIdentity {
    Text release;
    Text root;
    Text command_line;
    Text compression;
    std::uint32_t has_all_aliases = 0;
    std::uint32_t has_built_in_aliases = 0;
};

/// The state of a file that the index is made of.
struct InputEntry {
    Text path;
    std::uint64_t is_there = 0;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t changed_ns = 0;
};

enum ModuleFlag : std::uint32_t {
    module_indexed = 1U << 0U,  ///< in depmod's index of modules
    module_built_in = 1U << 1U, ///< in that of built-in ones
    module_has_record = 1U << 2U,
    // Of the record:
    module_record_built_in = 1U << 3U,
    module_command_only = 1U << 4U,
    module_blacklisted = 1U << 5U,
    module_named_by_command = 1U << 6U,
    module_by_modprobe = 1U << 7U,
    module_has_command = 1U << 8U,
};

struct ModuleEntry {
    Text name;
    Text path;
    Text options;
    Text command;
    Range dependencies; ///< of Table::names, as the two that follow
    Range soft_before;
    Range soft_after;
    std::uint32_t flags = 0;
    std::uint32_t reserved = 0;
};

/// Of Table::module_slots, by the hash of the name.
struct ModuleSlot {
    std::uint32_t hash = 0;
    std::uint32_t module = 0; ///< number in Table::modules
    std::uint32_t is_taken = 0;
};

struct OptionEntry {
    Text name;
    Text value;
};

struct CommandEntry {
    Text name;
    std::uint32_t is_install = 0; ///< else it is a remove line's
};

} // namespace kmodguard::compiled
