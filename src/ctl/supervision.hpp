// SPDX-License-Identifier: AGPL-3.0-only
//
// What the verbs of the process point have in common: who judges, and where events go.
#pragma once

#include "config/policy_file.hpp"
#include "core/judge.hpp"
#include "ctl/context.hpp"
#include "events/recorder.hpp"

#include <memory>
#include <vector>

namespace kmodguard::ctl {

/// The answer of --answer, if it is given. Anything but "refuse" and "pretend" is invalid.
[[nodiscard]] sys::Result<std::optional<core::Answer>> chosen_answer(const Context& context);

/// Judges by `policy` with the modules of the chosen kernel. Where that has none that could be looked up,
/// what the policy lists by name is all that it allows.
[[nodiscard]] sys::Result<std::unique_ptr<core::Judge>> make_judge(const Context& context,
                                                                   core::PolicySource policy);

using Sinks = std::vector<std::unique_ptr<events::Sink>>;

/// As many as a firmware's hundreds of modules need at once: a line of modules.log is not to be lost.
inline constexpr std::size_t recorder_capacity = 65536;

/// Where events go: the journal or syslog and standard error, unless `quiet`; with --log-dir also
/// events.jsonl and modules.log there. With --json standard error gets all events as JSON. The directory is
/// made if it is not there.
[[nodiscard]] sys::Result<Sinks> open_sinks(const Context& context, bool quiet);

} // namespace kmodguard::ctl
