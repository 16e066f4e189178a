// SPDX-License-Identifier: AGPL-3.0-only
#include "config/diagnostic.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

namespace kmodguard::config {
namespace {

constexpr std::size_t max_path = 4096;
constexpr std::size_t max_message = 16384;
constexpr std::size_t max_quoted = 64;

/// "file:line:column: " as far as it is known.
std::string place_of(const Diagnostic& diagnostic) {
    if (diagnostic.file.empty()) return {};
    std::string place = core::printable(diagnostic.file, max_path);
    if (diagnostic.line != 0) place += fmt::format(":{}", diagnostic.line);
    if (diagnostic.line != 0 && diagnostic.column != 0) place += fmt::format(":{}", diagnostic.column);
    return place + ": ";
}

auto identity_of(const Diagnostic& diagnostic) {
    return std::tie(diagnostic.file, diagnostic.line, diagnostic.column, diagnostic.message);
}

} // namespace

Diagnostic error_at(const std::string& file, Position at, std::string message, std::string hint) {
    return {Severity::error, file, at.line, at.column, std::move(message), std::move(hint)};
}

Diagnostic warning_at(const std::string& file, Position at, std::string message, std::string hint) {
    return {Severity::warning, file, at.line, at.column, std::move(message), std::move(hint)};
}

Diagnostic warning_at(const core::PolicySource& source, core::Origin origin, std::string message,
                      std::string hint) {
    const bool written = origin.line != 0 && origin.file < source.files.size();
    return warning_at(written ? source.files[origin.file] : "", {.line = written ? origin.line : 0},
                      std::move(message), std::move(hint));
}

std::string in_quotes(std::string_view text) {
    return "\"" + core::printable(text, max_quoted) + "\"";
}

std::string render(const Diagnostic& diagnostic) {
    const bool error = diagnostic.severity == Severity::error;
    std::string text = fmt::format("{}{}: {}", place_of(diagnostic), error ? "error" : "warning",
                                   core::printable(diagnostic.message, max_message));
    if (!diagnostic.hint.empty()) text += "\n  hint: " + core::printable(diagnostic.hint, max_message);
    return text;
}

std::string render(const Diagnostics& diagnostics) {
    std::string text;
    for (const Diagnostic& diagnostic : diagnostics)
        text += render(diagnostic) + "\n";
    return text;
}

bool has_errors(const Diagnostics& diagnostics) {
    return std::ranges::find(diagnostics, Severity::error, &Diagnostic::severity) != diagnostics.end();
}

void merge(Diagnostics& diagnostics, const Diagnostics& more) {
    const auto before = [](const Diagnostic& a, const Diagnostic& b) {
        return identity_of(a) < identity_of(b);
    };
    const std::set<Diagnostic, decltype(before)> known(diagnostics.begin(), diagnostics.end());
    std::ranges::copy_if(more, std::back_inserter(diagnostics),
                         [&known](const Diagnostic& diagnostic) { return !known.contains(diagnostic); });
}

sys::Error to_error(const Diagnostics& diagnostics) {
    const auto first = std::ranges::find(diagnostics, Severity::error, &Diagnostic::severity);
    if (first == diagnostics.end()) return {sys::ErrorKind::bad_policy, "the policy cannot be used"};
    const auto errors = std::ranges::count(diagnostics, Severity::error, &Diagnostic::severity);
    std::string what = place_of(*first) + core::printable(first->message, max_message);
    if (errors > 1) what += fmt::format(" (and {} more)", errors - 1);
    return {first->kind, std::move(what), first->hint};
}

} // namespace kmodguard::config
