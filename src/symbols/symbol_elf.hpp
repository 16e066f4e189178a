// SPDX-License-Identifier: AGPL-3.0-only
//
// Symbols of a vmlinux that was not stripped. Only the headers, the symbol table and its names are read, so
// the debug information that makes such a file half a gigabyte costs nothing.
#pragma once

#include "modules/elf_file.hpp"
#include "symbols/symbols.hpp"
#include "sys/result.hpp"

#include <optional>
#include <string_view>

namespace kmodguard::symbols {

/// The symbols of the ELF file's symbol table; nothing if it has none, as a stripped kernel. Left out are
/// those that are undefined, name a file or a section, or mark what kind of code follows (`$a`, `$x`). Fails
/// with `invalid` if the headers or the table are malformed. `label` names the file. Source: the ELF
/// specification (gABI), chapter 4; any class, byte order and machine.
[[nodiscard]] sys::Result<std::optional<Symbols>> read_elf_symbols(modules::ByteSource& source,
                                                                   std::string_view label);

} // namespace kmodguard::symbols
