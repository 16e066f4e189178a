// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy with the modules of one kernel, for threads that ask at the same time: the module index answers
// one question at a time.
#pragma once

#include "core/admission.hpp"

#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

namespace kmodguard::core {

class Judge {
  public:
    /// `index` may be nullptr, on a kernel whose modules cannot be looked up: then only what the policy lists
    /// by name is allowed. `answer` takes the place of the policy's.
    Judge(Policy policy, std::unique_ptr<ModuleIndex> index,
          std::optional<CallerAnswer> answer = std::nullopt);

    [[nodiscard]] Decision decide(const ImageFacts& facts);
    /// What the index says of each module that `module` cannot do without, in the order in which they load,
    /// and of itself last. One that it has not is there by its name alone, without a file.
    [[nodiscard]] std::vector<ModuleRecord> needed_for(std::string_view module);
    [[nodiscard]] const Policy& policy() const { return policy_; }
    [[nodiscard]] CallerAnswer answer() const { return answer_; }

  private:
    Policy policy_;
    CallerAnswer answer_;
    std::unique_ptr<ModuleIndex> index_;
    Admissions admissions_;
    std::mutex mutex_;
};

} // namespace kmodguard::core
