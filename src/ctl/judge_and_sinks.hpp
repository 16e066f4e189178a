// SPDX-License-Identifier: AGPL-3.0-only
//
// What the verbs that enforce a point themselves (exec, oci-agent, guest) have in common: what judges their
// attempts, and where the events go.
#pragma once

#include "config/policy_file.hpp"
#include "core/judge.hpp"
#include "ctl/context.hpp"
#include "ctl/options.hpp"
#include "events/recorder.hpp"

#include <memory>
#include <vector>

namespace kmodguard::ctl {

/// Judges by `policy` with the modules of the chosen kernel. Where that has none that could be looked up,
/// what the policy lists by name is all that it allows.
[[nodiscard]] sys::Result<std::unique_ptr<core::Judge>>
make_judge(const sys::Paths& paths, const SupervisionOptions& options, core::PolicySource policy);

using Sinks = std::vector<std::unique_ptr<events::Sink>>;

/// As many as a firmware's hundreds of modules need at once: a line of modules.log is not to be lost.
inline constexpr std::size_t recorder_capacity = 65536;

/// Where events go: the journal or syslog and standard error, unless `quiet`; with --log-dir also
/// events.jsonl and modules.log there. With --json standard error gets all events as JSON. The directory is
/// made if it is not there.
[[nodiscard]] sys::Result<Sinks> open_sinks(const Context& context, const File& log_dir, bool quiet);

} // namespace kmodguard::ctl
