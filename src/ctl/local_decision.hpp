// SPDX-License-Identifier: AGPL-3.0-only
//
// Judging without the daemon: `check` and `explain` work on a machine where it does not run, for another
// policy file, and for a kernel that is not running yet.
#pragma once

#include "config/policy_file.hpp"
#include "core/admission.hpp"
#include "ctl/context.hpp"
#include "modules/kmod_index.hpp"

#include <memory>
#include <optional>

namespace kmodguard::ctl {

inline constexpr std::size_t longest_path = 4096; ///< shown whole

/// The kernel of --kernel, or the running one.
[[nodiscard]] std::string chosen_kernel(const Context& context);

/// The policy of --policy, or of /etc/kmodguard with its drop-ins.
[[nodiscard]] config::PolicyResult read_policy(const Context& context);

class LocalJudge {
  public:
    [[nodiscard]] static sys::Result<LocalJudge> create(const Context& context);
    [[nodiscard]] core::Decision decide(const std::string& token);
    /// core::not_admitted().
    [[nodiscard]] std::vector<core::ModuleDecision> not_admitted(const std::vector<std::string>& loaded);

  private:
    const core::Admissions& admissions();

    core::Policy policy_;
    std::unique_ptr<modules::KmodIndex> index_;
    std::optional<core::Admissions> admissions_;
};

/// Decides on `tokens` in the daemon, or here if it does not run or the options ask for another policy or
/// kernel.
[[nodiscard]] sys::Result<std::vector<core::Decision>> decide_all(const Context& context);

/// 3 if any of them keeps something out; else 7 if any is refused, and what it asks for is built in; else 0.
[[nodiscard]] ExitCode exit_code_of(const std::vector<core::Decision>& decisions);

} // namespace kmodguard::ctl
