// SPDX-License-Identifier: AGPL-3.0-only
//
// The three things that a kernel's symbols are read from: a text, an ELF file's symbol table, and the tables
// that a kernel has for itself. read_symbols() finds out which it is.
#pragma once

#include "modules/elf_file.hpp"
#include "symbols/symbols.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace kmodguard::symbols {

/// Whether the first line is one of a text of symbols: System.map, `nm vmlinux`, /proc/kallsyms.
[[nodiscard]] bool is_symbol_text(std::string_view text);

/// The symbols of lines "ADDRESS TYPE NAME", blanks between, the address hexadecimal. What belongs to a
/// module
/// ("NAME\t[MODULE]") is left out, and so is what has no address. The word size is known by the digits of the
/// first address. `label` names the text in errors, and is the symbols' source. Fails with `invalid` if a
/// line is something else, the text is the stub that Debian installs in place of System.map, or it holds no
/// symbol; with `denied` if all addresses are zero, as the kernel shows them to whom it does not trust.
/// Source: scripts/mksysmap, s_show of kernel/kallsyms.c.
[[nodiscard]] sys::Result<Symbols> parse_symbol_text(std::string_view text, std::string_view label);

/// The symbols of the ELF file's symbol table; nothing if it has none, as a stripped kernel. Left out are
/// those that are undefined, name a file or a section, or mark what kind of code follows (`$a`, `$x`). Fails
/// with `invalid` if the headers or the table are malformed. `label` names the file. Source: the ELF
/// specification (gABI), chapter 4; any class, byte order and machine.
[[nodiscard]] sys::Result<std::optional<Symbols>> read_elf_symbols(modules::ByteSource& source,
                                                                   std::string_view label);

/// The symbols of the kernel in `kernel`: its flat bytes, an ELF file, or the guest's physical memory.
/// Kernels 2.6.10 to 7.2, 32 and 64 bit, both byte orders. In a file they are where the kernel is linked to;
/// in memory, where it runs. Fails with `invalid` if there are no tables, they are damaged, or what they
/// yield is no kernel's symbols (fewer than 1000, not ascending, without the names that all kernels have),
/// and says which.
///
/// Symbols::banner() has no address if the kernel lists functions only (no CONFIG_KALLSYMS_ALL) and where its
/// bytes lie in memory is not known either: in a dump.
[[nodiscard]] sys::Result<Symbols> recover_symbols(std::span<const std::byte> kernel);

} // namespace kmodguard::symbols
