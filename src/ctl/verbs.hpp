// SPDX-License-Identifier: AGPL-3.0-only
//
// The table of verbs: all that kmodctl's parser, help, completion and checks know of a verb. A verb that is
// one request to the daemon is a row and no more; the others are in verbs/.
#pragma once

#include "ctl/context.hpp"
#include "ctl/options.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace kmodguard::ctl {

/// Puts `text` where it belongs among the verb's options; returns what is
/// wrong with it, as the end of a sentence that begins with it; "" if nothing.
using SetOption = std::string_view (*)(Options& options, std::string_view text);

struct Option {
    std::string_view name;  ///< without dashes
    std::string_view value; ///< what follows it in the help; empty for a flag
    std::string_view help;
    SetOption set = nullptr;
};

inline constexpr std::string_view debug_help =
    "trace to standard error; --debug=TOPICS: a list of packets, bpf, cache, decisions, calls, files";

/// What a positional argument is, for completion. `command`: everything after "--".
enum class Argument { none, module, listed_module, token, mode, file, command, raw };

/// What a verb takes besides options.
struct Positional {
    std::string_view shown = {}; ///< in the help
    Argument kind = Argument::none;
    std::size_t min = 0;
    std::size_t max = 0;
    SetOption set = nullptr; ///< called for each
};

/// A verb's function, with the options that it takes.
struct Action {
    Options (*options)() = nullptr; ///< none is given
    sys::Result<int> (*run)(const Context&, const Options&) = nullptr;
};

struct Verb {
    std::string_view name;
    std::string_view help;
    bool needs_root = false;
    /// All libraries are loaded before it begins: it goes on running, or must not end halfway.
    bool loads_first = false;
    Positional arguments = {};
    std::span<const Option> options = {};
    std::string_view request = {}; ///< the daemon's verb, of one that is a request and no more
    Action action;
};

[[nodiscard]] std::span<const Verb> verbs();
/// nullptr if there is none of this name.
[[nodiscard]] const Verb* find_verb(std::string_view name);
/// The verb that `name` was most likely meant to be; "" if none is near.
[[nodiscard]] std::string_view nearest_verb(std::string_view name);

// verbs/*.cpp. Each returns its exit code, or an error that is then printed and becomes one.
sys::Result<int> run_init(const Context& context, const InitOptions& options);
sys::Result<int> run_start(const Context& context);
sys::Result<int> run_stop(const Context& context);
sys::Result<int> run_status(const Context& context);
sys::Result<int> run_hook(const Context& context, const RawOptions& options);
sys::Result<int> run_apply(const Context& context);
sys::Result<int> run_arm(const Context& context);
sys::Result<int> run_disarm(const Context& context, const DisarmOptions& options);
sys::Result<int> run_mode(const Context& context, const ModeOptions& options);
sys::Result<int> run_check(const Context& context, const CheckOptions& options);
sys::Result<int> run_explain(const Context& context, const CheckOptions& options);
sys::Result<int> run_list(const Context& context);
sys::Result<int> run_lint(const Context& context, const LintOptions& options);
sys::Result<int> run_convert(const Context& context, const ConvertOptions& options);
sys::Result<int> run_seal(const Context& context, const SealOptions& options);
sys::Result<int> run_doctor(const Context& context, const DoctorOptions& options);
sys::Result<int> run_exec(const Context& context, const ExecOptions& options);
sys::Result<int> run_oci_agent(const Context& context, const OciAgentOptions& options);
sys::Result<int> run_guest(const Context& context, const GuestOptions& options);
sys::Result<int> run_complete(const Context& context, const RawOptions& options);

} // namespace kmodguard::ctl
