// SPDX-License-Identifier: AGPL-3.0-only
//
// Aliases and the modules that they lead to, as depmod's indexes have them: which of 26,000 patterns match a
// token is found out by those alone that begin as it does. Patterns are filed under the text before their
// first wildcard, in a table of hashes. A token has as many beginnings as there are lengths of such texts in
// its family, which is the bus that a device is on ("pci:"); most families have few. Of the thousands that
// begin alike ("of:N*T*C...") most are told from the token by their signatures: a bit for each two characters
// that are in them side by side.
//
// It answers what libkmod's index_searchwild() does (kmod, libkmod/libkmod-index.c): what is before the first
// '*', '?' or '[' must be the same, the rest match by fnmatch(3) without flags; and in the order of the
// priorities that depmod gave. Of a token that has a wildcard in it libkmod finds more by chance, where a
// node of its tree ends just before that: here it is a character like another.
#pragma once

#include "compiled/file.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::compiled {

/// A pattern, folded, and one of the modules that it leads to.
struct Alias {
    std::string pattern;
    std::string module;
    std::uint32_t priority = 0; ///< lower ones first

    auto operator<=>(const Alias&) const = default;
};

class PatternTable {
  public:
    /// The tables that one consists of, and where in a pattern the literal beginning ends.
    struct Kind {
        Table patterns;
        Table slots;
        Table lengths;
        Table families;
        Table signatures;
        std::string_view wildcards;
    };
    // In depmod's indexes a backslash is a character like another before the first wildcard, where they are
    // searched one by one, and begins an escape after it. To fnmatch(3) it always does.
    static constexpr Kind aliases = {Table::alias_patterns, Table::alias_slots,      Table::alias_lengths,
                                     Table::alias_families, Table::alias_signatures, "*?["};
    static constexpr Kind symbols = {Table::symbol_patterns, Table::symbol_slots,      Table::symbol_lengths,
                                     Table::symbol_families, Table::symbol_signatures, "*?["};
    static constexpr Kind built_in = {Table::built_in_patterns,   Table::built_in_slots,
                                      Table::built_in_lengths,    Table::built_in_families,
                                      Table::built_in_signatures, "*?["};
    static constexpr Kind configured = {Table::configured_patterns,   Table::configured_slots,
                                        Table::configured_lengths,    Table::configured_families,
                                        Table::configured_signatures, "*?[\\"};

    /// Aliases of more than 4,096 characters, or of a module whose name is as long, are left out: libkmod
    /// finds none either (PATH_MAX).
    static void write(FileWriter& writer, const Kind& kind, std::vector<Alias> all);

    /// Of `file`, which must outlive this object.
    PatternTable(const File& file, const Kind& kind);

    struct Match {
        std::string_view beginning; ///< of the pattern
        std::string_view rest;
        std::string_view module;

        [[nodiscard]] std::string pattern() const { return std::string(beginning).append(rest); }
    };
    /// All that match `token`, which is folded, in the order of their priorities.
    [[nodiscard]] std::vector<Match> match(std::string_view token) const;
    /// All that there are, in no order that means anything.
    void for_each(const std::function<void(std::string_view pattern, std::string_view module)>& visit) const;

  private:
    /// What follows the literal beginning of a pattern.
    enum class Form : std::uint8_t {
        nothing,
        anything, ///< "*"
        stars,    ///< '*', and then text and '*' alone
        pattern,  ///< what only fnmatch(3) can tell
    };
    [[nodiscard]] static Form form_of(std::string_view rest);
    /// Small, since there are tens of thousands. Of the patterns of one beginning only what follows is in
    /// them, which is the same text for many.
    struct Entry {
        std::uint32_t rest_at = 0; ///< in the text, as the module's name
        std::uint32_t module_at = 0;
        std::uint32_t priority = 0;
        std::uint16_t rest_size = 0;
        std::uint16_t module_size = 0;
        Form form = Form::nothing;
        std::array<std::uint8_t, 3> reserved{};

        [[nodiscard]] Text rest() const { return {rest_at, rest_size}; }
        [[nodiscard]] Text module() const { return {module_at, module_size}; }
    };
    struct Signature {
        std::uint64_t bits = 0;
    };
    /// Of text that any match of it has.
    [[nodiscard]] static std::uint64_t signature_of(std::string_view text);
    [[nodiscard]] static std::uint64_t signature_of_parts(std::string_view rest);
    /// Where the entries of one beginning are; none: a free slot.
    struct Slot {
        std::uint32_t hash = 0;
        Text beginning;
        Range entries;
    };
    /// A length that beginnings have, and the characters in which those end.
    struct Length {
        std::uint32_t length = 0;
        std::uint32_t reserved = 0;
        std::array<std::uint64_t, 4> endings{};

        void add(std::string_view beginning);
        [[nodiscard]] bool has_ending_of(std::string_view beginning) const;
    };

    /// What a literal beginning has up to its first colon; "" without one.
    struct Family {
        Text name;
        Range lengths; ///< that beginnings of it have, the shortest first; none: a free slot
    };
    [[nodiscard]] static std::string_view family_of(std::string_view beginning) {
        return beginning.substr(0, beginning.find(':') + 1);
    }
    struct Found {
        const Entry* entry;
        std::string_view beginning;
    };
    void find(std::string_view family, std::string_view token, std::size_t longest,
              std::vector<Found>& found) const;

    [[nodiscard]] Range entries_of(std::string_view beginning, std::uint32_t hash) const;
    /// Whether what follows its beginning in a token is matched by what follows it in a pattern.
    [[nodiscard]] bool matches(const Entry& entry, std::string_view text) const;

    const File& file_;
    std::span<const Entry> entries_;
    std::span<const Slot> slots_;
    std::span<const Length> lengths_;
    std::span<const Family> families_;
    std::span<const Signature> signatures_; ///< of the entries; none: they are not looked at
};

} // namespace kmodguard::compiled
