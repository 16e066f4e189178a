// SPDX-License-Identifier: AGPL-3.0-only
//
// Names as the kernel and kmod use them. A module has one canonical name, with '-' folded to '_'; whatever
// else people write (a path, a file name, either kind of dash) is brought to it here and nowhere else. Also
// what is needed to show names and bytes as text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {

/// Longest module name in bytes: MODULE_NAME_LEN of linux/module.h on 64-bit, less the NUL.
inline constexpr std::size_t max_module_name = 55;
/// The module that `kmodctl doctor` tries to load, to see whether it is refused. No other has that name.
inline constexpr std::string_view canary_name = "kmodguard_canary";
/// Longest token in bytes that is looked at. The kernel itself asks with at most 55, udev with a few hundred.
inline constexpr std::size_t max_token = 2048;

/// Every '-' replaced by '_'.
[[nodiscard]] std::string fold(std::string_view text);

/// Folds an alias pattern as kmod's alias_normalize does: '-' to '_', but not inside [...].
[[nodiscard]] std::string fold_pattern(std::string_view pattern);

/// Whether `name` is a canonical module name: 1 to 55 of [A-Za-z0-9_.+], not beginning with a dot.
[[nodiscard]] bool is_module_name(std::string_view name);

/// The module a path, file name or name means: directory and one of .ko, .ko.xz, .ko.zst, .ko.gz stripped,
/// folded. "/lib/modules/foo-bar.ko.xz" is foo_bar, "bar" is bar; "" and "x/" mean none, and so does
/// anything that is then no module name.
[[nodiscard]] std::optional<std::string> module_name_of(std::string_view path);

/// Whether `token` can be the name of something: 1 to max_token bytes of valid UTF-8 without control
/// characters, and not beginning with '-' (an option). Anything else names nothing.
[[nodiscard]] bool is_token(std::string_view token);

/// Number of single characters to insert, remove or replace to make `b` of `a`: for "did you mean".
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

/// `text` made safe to show on a terminal or in a log line: control characters and invalid UTF-8 as \xNN, and
/// cut after `limit` bytes with "...".
[[nodiscard]] std::string printable(std::string_view text, std::size_t limit = 256);

struct Character {
    char32_t code = 0;
    std::size_t length = 0; ///< in bytes; 0: the bytes are not UTF-8
};
/// The character at the start of `text`; of length 0 if that is empty, or no valid UTF-8 (Unicode 15, table
/// 3-7: no overlong forms, no surrogates, nothing over U+10FFFF).
[[nodiscard]] Character first_character(std::string_view text);

/// Two lower-case digits a byte.
[[nodiscard]] std::string to_hex(std::span<const std::uint8_t> bytes);

/// "a, b, c" for a sentence: of many names the first eight, and ", ...".
[[nodiscard]] std::string first_of(const std::vector<std::string>& names);

} // namespace kmodguard::core
