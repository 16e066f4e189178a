// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy with the modules of one kernel, for threads that ask at the same time: the module index answers
// one question at a time.
#pragma once

#include "core/admission.hpp"
#include "core/decision.hpp"

#include <memory>
#include <mutex>

namespace kmodguard::process {

class Judge {
  public:
    /// `index` may be nullptr, on a kernel whose modules cannot be looked up: then only what the policy lists
    /// by name is allowed.
    Judge(core::Policy policy, std::unique_ptr<core::ModuleIndex> index);

    [[nodiscard]] core::Decision decide(const core::ImageFacts& facts);
    [[nodiscard]] const core::Policy& policy() const { return policy_; }

  private:
    core::Policy policy_;
    std::unique_ptr<core::ModuleIndex> index_;
    core::Admissions admissions_;
    std::mutex mutex_;
};

} // namespace kmodguard::process
