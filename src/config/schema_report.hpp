// SPDX-License-Identifier: AGPL-3.0-only
//
// What the readers of both forms of a policy do alike: report what is wrong and where, in bounds; count the
// entries; and name the kind of value that was found. A policy is refused in the same words whichever form it
// has.
#pragma once

#include "config/diagnostic.hpp"
#include "config/document.hpp"
#include "config/policy_schema.hpp"
#include "core/policy.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::config {

class SchemaReport {
  public:
    /// Findings of the file source.files[file] go to `diagnostics`: a thousand, then one that says there are
    /// more. At most `max_entries` entries may be in `source` in the end, those of earlier files included.
    SchemaReport(const core::PolicySource& source, std::uint32_t file, Form form, std::size_t max_entries,
                 Diagnostics& diagnostics);

    void error(Position at, std::string message, std::string hint = {});
    void warning(Position at, std::string message, std::string hint = {});
    /// How many errors were reported so far, shown or not.
    [[nodiscard]] std::size_t errors() const { return errors_; }

    /// Whether there is room for one more entry, which is then counted. The first that finds none is an
    /// error.
    [[nodiscard]] bool take_room(Position at);

    /// Whether `value` is of `kind`; otherwise an error: "NAME: expected EXPECTED, found ...".
    [[nodiscard]] bool expect(const Node& value, Node::Kind kind, std::string_view expected,
                              std::string_view name, std::string hint = {});

    /// The SHA-256 that `value` holds, or an error about `name`.
    [[nodiscard]] std::optional<core::Sha256> read_hash(const Node& value, std::string_view name);

    [[nodiscard]] core::Origin origin(Position at) const { return {file_, at.line}; }

  private:
    void report(Diagnostic diagnostic);

    std::string file_name_;
    std::uint32_t file_;
    Form form_;
    std::size_t left_; ///< entries that may still come
    bool full_ = false;
    std::size_t errors_ = 0;
    Diagnostics& diagnostics_;
};

} // namespace kmodguard::config
