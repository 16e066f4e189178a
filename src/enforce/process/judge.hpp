// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy with the modules of one kernel, for threads that ask at the same time: the module index answers
// one question at a time.
#pragma once

#include "core/admission.hpp"
#include "core/decision.hpp"

#include <memory>
#include <mutex>
#include <optional>

namespace kmodguard::process {

class Judge {
  public:
    /// `index` may be nullptr, on a kernel whose modules cannot be looked up: then only what the policy lists
    /// by name is allowed. `answer` takes the place of the policy's.
    Judge(core::Policy policy, std::unique_ptr<core::ModuleIndex> index,
          std::optional<core::Answer> answer = std::nullopt);

    [[nodiscard]] core::Decision decide(const core::ImageFacts& facts);
    [[nodiscard]] const core::Policy& policy() const { return policy_; }
    /// What a refused caller is told.
    [[nodiscard]] core::Answer answer() const { return answer_; }

  private:
    core::Policy policy_;
    core::Answer answer_;
    std::unique_ptr<core::ModuleIndex> index_;
    core::Admissions admissions_;
    std::mutex mutex_;
};

} // namespace kmodguard::process
