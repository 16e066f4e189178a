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

namespace kmodguard::core {

class Judge {
  public:
    /// `index` may be nullptr, on a kernel whose modules cannot be looked up: then only what the policy lists
    /// by name is allowed. `answer` takes the place of the policy's.
    Judge(Policy policy, std::unique_ptr<ModuleIndex> index, std::optional<Answer> answer = std::nullopt);

    [[nodiscard]] Decision decide(const ImageFacts& facts);
    [[nodiscard]] const Policy& policy() const { return policy_; }
    /// What a refused caller is told.
    [[nodiscard]] Answer answer() const { return answer_; }

  private:
    Policy policy_;
    Answer answer_;
    std::unique_ptr<ModuleIndex> index_;
    Admissions admissions_;
    std::mutex mutex_;
};

} // namespace kmodguard::core
