// SPDX-License-Identifier: AGPL-3.0-only
//
// Symbols as text, a line each: System.map, `nm vmlinux`, and what a kernel shows in /proc/kallsyms.
#pragma once

#include "symbols/symbols.hpp"
#include "sys/result.hpp"

#include <string_view>

namespace kmodguard::symbols {

/// Whether the first line is one of such a text.
[[nodiscard]] bool is_symbol_text(std::string_view text);

/// The symbols of lines "ADDRESS TYPE NAME", blanks between, the address hexadecimal. What belongs to a
/// module
/// ("NAME\t[MODULE]") is left out, and so is what has no address. The word size is known by the digits of the
/// first address. `label` names the text in errors, and is the symbols' source. Fails with `invalid` if a
/// line is something else, the text is the stub that Debian installs in place of System.map, or it holds no
/// symbol; with `denied` if all addresses are zero, as the kernel shows them to whom it does not trust.
/// Source: scripts/mksysmap, s_show of kernel/kallsyms.c.
[[nodiscard]] sys::Result<Symbols> parse_symbol_text(std::string_view text, std::string_view label);

} // namespace kmodguard::symbols
