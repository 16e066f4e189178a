// SPDX-License-Identifier: AGPL-3.0-only
//
// What a reader of policy files has to say. An error without a place costs its reader minutes, and one
// without a way out costs more: so each names file, line and column, what is wrong, and what to do about it.
#pragma once

#include "sys/result.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

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

/// `text` in double quotes, made safe to show, and cut after 64 bytes.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// "file:line:column: error: message", and where there is a hint "\n  hint: ...". Without a final newline,
/// and without a control character whatever the file and its name hold.
[[nodiscard]] std::string render(const Diagnostic& diagnostic);

/// All of them, one after the other, each ended by a newline.
[[nodiscard]] std::string render(const Diagnostics& diagnostics);

[[nodiscard]] bool has_errors(const Diagnostics& diagnostics);

/// Adds what `more` has and `diagnostics` has not, so that what the reader and the linter both see is said
/// once.
void merge(Diagnostics& diagnostics, const Diagnostics& more);

/// The first error as the project's one error type, with the number of those behind it.
[[nodiscard]] sys::Error to_error(const Diagnostics& diagnostics);

} // namespace kmodguard::config
