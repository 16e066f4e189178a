// SPDX-License-Identifier: AGPL-3.0-only
//
// Many alias patterns, one question: which of them matches this token? A policy may hold thousands, and a
// decision must not get slower with them; so patterns are filed under the literal text before their first
// wildcard, and only those filed under a beginning of the token are tried.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kmodguard::core {

struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
        return std::hash<std::string_view>{}(text);
    }
};

class PatternSet {
  public:
    /// Files `pattern` (any spelling; it is folded) as number `id`.
    void add(std::string_view pattern, std::uint32_t id);

    /// The lowest id whose pattern matches `token` (any spelling), as modprobe matches: fnmatch(3) without
    /// flags, '-' and '_' alike.
    [[nodiscard]] std::optional<std::uint32_t> match(std::string_view token) const;

    /// The lowest id whose pattern is the same text as `pattern`, or matches it as if it were a token.
    [[nodiscard]] std::optional<std::uint32_t> covers(std::string_view pattern) const;

    [[nodiscard]] bool empty() const { return by_prefix_.empty(); }

  private:
    /// What follows the literal beginning: nothing, "*", or what only fnmatch(3) can tell.
    enum class Form { literal, prefix, any };
    struct Filed {
        std::string pattern;
        std::uint32_t id;
        Form form;
    };
    /// The same of a token that is folded already.
    [[nodiscard]] std::optional<std::uint32_t> match_folded(std::string_view token) const;

    std::unordered_map<std::string, std::vector<Filed>, StringHash, std::equal_to<>> by_prefix_;
    /// The lengths of the prefixes, and the characters in which those of a length end: most beginnings of a
    /// token end in another, and need not be looked up.
    std::map<std::size_t, std::bitset<256>> endings_;
};

} // namespace kmodguard::core
