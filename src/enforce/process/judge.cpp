// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/judge.hpp"

#include <utility>

namespace kmodguard::process {
namespace {

std::unique_ptr<core::ModuleIndex> or_none(std::unique_ptr<core::ModuleIndex> index) {
    if (index == nullptr) return std::make_unique<core::NoModules>();
    return index;
}

} // namespace

Judge::Judge(core::Policy policy, std::unique_ptr<core::ModuleIndex> index,
             std::optional<core::Answer> answer)
    : policy_(std::move(policy)), answer_(answer.value_or(policy_.answer())),
      index_(or_none(std::move(index))), admissions_(policy_, *index_) {}

core::Decision Judge::decide(const core::ImageFacts& facts) {
    const std::scoped_lock lock(mutex_);
    return core::decide_image(policy_, *index_, admissions_, facts);
}

} // namespace kmodguard::process
