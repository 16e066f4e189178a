// SPDX-License-Identifier: AGPL-3.0-only
//
// The table of verbs: all that kmodctl's parser, help, completion and checks know of a verb. Each verb is one
// file in verbs/.
#pragma once

#include "ctl/context.hpp"

#include <cstddef>
#include <initializer_list>
#include <span>
#include <string_view>

namespace kmodguard::ctl {

struct Option {
    std::string_view name;  ///< without dashes
    std::string_view value; ///< what stands after it in the help; empty for a flag
    std::string_view help;
    /// What is wrong with a value that is not empty; "" if nothing. nullptr: any is taken.
    std::string_view (*complaint)(std::string_view value) = nullptr;
};

inline constexpr std::string_view debug_help =
    "trace to standard error; --debug=TOPICS: a list of packets, bpf, cache, decisions, calls";

/// What a positional argument is, for completion. `command`: everything behind "--".
enum class Argument { none, module, listed_module, token, mode, file, command, raw };

struct Verb {
    std::string_view name;
    std::string_view arguments; ///< as the help shows them
    std::string_view help;
    bool needs_root = false;
    bool needs_daemon = false;
    Argument argument = Argument::none;
    std::size_t fewest = 0;
    std::size_t most = 0;
    std::span<const Option> options;
    int (*run)(const Context&) = nullptr;
};

[[nodiscard]] std::span<const Verb> verbs();
/// nullptr if there is none of this name.
[[nodiscard]] const Verb* find_verb(std::string_view name);
/// The verb that `name` was most likely meant to be; "" if none is near.
[[nodiscard]] std::string_view nearest_verb(std::string_view name);

// verbs/*.cpp
int run_init(const Context& context);
int run_start(const Context& context);
int run_stop(const Context& context);
int run_status(const Context& context);
int run_hook(const Context& context);
int run_allow(const Context& context);
int run_deny(const Context& context);
int run_remove(const Context& context);
int run_apply(const Context& context);
int run_arm(const Context& context);
int run_disarm(const Context& context);
int run_mode(const Context& context);
int run_check(const Context& context);
int run_explain(const Context& context);
int run_reload(const Context& context);
int run_list(const Context& context);
int run_lint(const Context& context);
int run_convert(const Context& context);
int run_seal(const Context& context);
int run_doctor(const Context& context);
int run_exec(const Context& context);
int run_oci_agent(const Context& context);
int run_guest(const Context& context);
int run_complete(const Context& context);

} // namespace kmodguard::ctl
