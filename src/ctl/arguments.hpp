// SPDX-License-Identifier: AGPL-3.0-only
//
// The command line, by the table of verbs. The parser's library is heavy and stays in one translation unit.
#pragma once

#include "ctl/verbs.hpp"

#include <variant>

namespace kmodguard::ctl {

/// A verb, and what it was given.
struct Invocation {
    const Verb* verb = nullptr;
    Context context;
    Options options;

    /// Looks whether the caller may, and runs it; the exit code.
    [[nodiscard]] int run() const;
};

/// What a command line asks for: a verb to run, or, when help or an error was printed, an exit code.
using Parsed = std::variant<Invocation, int>;

[[nodiscard]] Parsed parse_arguments(int count, char** arguments);

} // namespace kmodguard::ctl
