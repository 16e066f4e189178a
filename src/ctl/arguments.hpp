// SPDX-License-Identifier: AGPL-3.0-only
//
// The command line, by the table of verbs. The parser's library is heavy and stays in one translation unit.
#pragma once

#include "ctl/context.hpp"

#include <variant>

namespace kmodguard::ctl {

/// What a command line asks for: a verb to run, or, when help or an error was printed, an exit code.
using Parsed = std::variant<Context, int>;

[[nodiscard]] Parsed parse_arguments(int count, char** arguments);

} // namespace kmodguard::ctl
