// SPDX-License-Identifier: AGPL-3.0-only
//
// What the policy says of names and aliases, by the daemon or by kmodctl itself: `check` and `explain` work
// on a machine where the daemon does not run, for another policy file, and for a kernel that is not running
// yet.
#pragma once

#include "config/policy_file.hpp"
#include "core/admission.hpp"
#include "ctl/context.hpp"
#include "ctl/options.hpp"
#include "modules/kmod_index.hpp"

#include <memory>
#include <optional>

namespace kmodguard::ctl {

inline constexpr std::size_t max_path = 4096; ///< shown whole

/// That kernel, or the running one.
[[nodiscard]] std::string chosen_kernel(const std::optional<Release>& kernel);

/// The policy of `file`, or of /etc/kmodguard with its drop-ins.
[[nodiscard]] sys::Result<config::LoadedPolicy> read_policy(const sys::Paths& paths,
                                                            const File& file = std::nullopt);

class LocalJudge {
  public:
    [[nodiscard]] static sys::Result<LocalJudge> create(const sys::Paths& paths,
                                                        const PolicyOptions& options = {});
    [[nodiscard]] core::Decision decide(const std::string& token);
    /// core::not_admitted().
    [[nodiscard]] std::vector<core::ModuleDecision> not_admitted(const std::vector<std::string>& loaded);

  private:
    const core::Admissions& admissions();

    core::Policy policy_;
    std::unique_ptr<modules::KmodIndex> index_;
    std::optional<core::Admissions> admissions_;
};

/// What the daemon decides on each token; what is decided here if it does not run, or another policy or
/// kernel is asked for.
[[nodiscard]] sys::Result<std::vector<core::Decision>> decide_all(const Context& context,
                                                                  const CheckOptions& options);

/// 3 if any of them keeps something out; else 7 if any is refused, and what it asks for is built in; else 0.
[[nodiscard]] ExitCode exit_code_of(const std::vector<core::Decision>& decisions);

} // namespace kmodguard::ctl
