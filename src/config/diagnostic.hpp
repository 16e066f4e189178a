// SPDX-License-Identifier: AGPL-3.0-only
//
// What is found in policy files. An error without a place costs its reader minutes, and one without a way out
// costs more: so each names file, line and column, what is wrong, and what to do about it.
#pragma once

#include "core/policy.hpp"
#include "sys/result.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

/// Both from 1; columns count code points. 0: unknown.
struct Position {
    unsigned line = 0;
    unsigned column = 0;

    auto operator<=>(const Position&) const = default;
};

enum class Severity { warning, error };

struct Diagnostic {
    Severity severity = Severity::error;
    std::string file;    ///< as shown to people; empty when no file is to blame
    unsigned line = 0;   ///< from 1; 0: the file as a whole
    unsigned column = 0; ///< from 1, in code points; 0: the line as a whole
    std::string message;
    std::string hint; ///< what to do; may be empty
    /// What the error is to a program: not_found where there is no policy at all.
    sys::ErrorKind kind = sys::ErrorKind::bad_policy;

    bool operator==(const Diagnostic&) const = default;
};

using Diagnostics = std::vector<Diagnostic>;

/// About a place in `file`, or with {} about all of it.
[[nodiscard]] Diagnostic error_at(const std::string& file, Position at, std::string message,
                                  std::string hint = {});
[[nodiscard]] Diagnostic warning_at(const std::string& file, Position at, std::string message,
                                    std::string hint = {});
/// About a rule of `source`; of one that was given at run time no file is known.
[[nodiscard]] Diagnostic warning_at(const core::PolicySource& source, core::Origin origin,
                                    std::string message, std::string hint);

/// `text` in double quotes, made safe to show, and cut after 64 bytes.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// "file:line:column: error: message", and where there is a hint "\n  hint: ...". Without a final newline,
/// and without a control character whatever the file and its name contain.
[[nodiscard]] std::string render(const Diagnostic& diagnostic);

/// All of them, one after the other, each ended by a newline.
[[nodiscard]] std::string render(const Diagnostics& diagnostics);

[[nodiscard]] bool has_errors(const Diagnostics& diagnostics);

/// Adds what `more` has and `diagnostics` has not, so that what the reader and the linter both find is there
/// once.
void merge(Diagnostics& diagnostics, const Diagnostics& more);

/// The first error as the project's one error type, with the number of those behind it.
[[nodiscard]] sys::Error to_error(const Diagnostics& diagnostics);

} // namespace kmodguard::config
