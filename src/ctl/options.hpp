// SPDX-License-Identifier: AGPL-3.0-only
//
// What each verb can be given, a struct a verb. The table of verbs (verbs.cpp) says which option goes to
// which member; what a member's type does not take is a mistake in the command line. What is not given is
// empty, or false.
#pragma once

#include "core/policy.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace kmodguard::guest {
enum class Interception : std::uint8_t;
}

namespace kmodguard::ctl {

using Words = std::vector<std::string>;
using File = std::optional<std::string>;

/// Of a kernel: the name of a folder below /lib/modules.
struct Release {
    std::string name;
};

struct NoOptions {};
struct InitOptions {
    File output;
    bool force = false;
};
struct SealOptions {
    bool yes = false;
    bool dry_run = false;
};
struct DoctorOptions {
    bool fix = false;
};
struct DisarmOptions {
    bool force = false;
    bool unless_restarting = false;
    bool kernel_point = false;
};
/// Of a verb that is one request to the daemon.
struct RequestOptions {
    std::string argument;
};
struct ModeOptions {
    std::optional<core::Mode> mode;
    std::optional<std::chrono::seconds> limit;
};
struct LintOptions {
    File file;
    std::optional<Release> kernel;
};
struct ConvertOptions {
    std::string file;
    File output;
    bool force = false;
};

/// By which policy, and with the modules of which kernel, kmodctl itself decides.
struct PolicyOptions {
    File policy;
    std::optional<Release> kernel;
};
struct CheckOptions : PolicyOptions {
    Words tokens;
};
/// Of the points that kmodctl itself enforces.
struct SupervisionOptions : PolicyOptions {
    File log_dir;
    std::optional<core::CallerAnswer> answer; ///< instead of the policy's
    bool quiet = false;
};
struct ExecOptions : SupervisionOptions {
    Words command;
    bool wait = false;
};
struct OciAgentOptions : SupervisionOptions {
    File socket;
    File policies; ///< a directory
};
struct GuestOptions : SupervisionOptions {
    Words command; ///< the emulator's
    File symbols;
    File gdb; ///< a socket
    File framework;
    std::optional<std::string> architecture;
    std::optional<std::uint64_t> kaslr_offset;
    guest::Interception interception{};
    bool hash = false;
    bool statistics = false;
};
/// Of a verb that reads its words itself.
struct RawOptions {
    Words words;
};

using Options = std::variant<NoOptions, InitOptions, SealOptions, DoctorOptions, DisarmOptions,
                             RequestOptions, ModeOptions, LintOptions, ConvertOptions, CheckOptions,
                             ExecOptions, OciAgentOptions, GuestOptions, RawOptions>;

} // namespace kmodguard::ctl
