// SPDX-License-Identifier: AGPL-3.0-only
//
// Decisions by kmodctl itself: on a machine where the daemon does not run, for another policy file, and for a
// kernel that is not running yet.
#pragma once

#include "config/policy_file.hpp"
#include "core/admission.hpp"
#include "ctl/context.hpp"
#include "ctl/options.hpp"
#include "modules/kmod_index.hpp"

#include <memory>
#include <optional>

namespace kmodguard::ctl {

/// Whether a request to the daemon failed because none runs, or none that answers this user.
[[nodiscard]] bool has_no_daemon(const sys::Error& error);

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

} // namespace kmodguard::ctl
