// SPDX-License-Identifier: AGPL-3.0-only
#include "core/judge.hpp"

#include <utility>

namespace kmodguard::core {

// Without an index it is not known which names are those of modules: they are taken for it.
Judge::Judge(Policy policy, std::unique_ptr<ModuleIndex> index, std::optional<CallerAnswer> answer)
    : policy_(index ? policy.for_modules_of(*index) : std::move(policy)),
      answer_(answer.value_or(policy_.answer())),
      index_(index ? std::move(index) : std::make_unique<NoModules>()), admissions_(policy_, *index_) {}

Decision Judge::decide(const ImageFacts& facts) {
    const std::scoped_lock lock(mutex_);
    return decide_image(policy_, *index_, admissions_, facts);
}

std::vector<ModuleRecord> Judge::needed_for(std::string_view module) {
    const std::scoped_lock lock(mutex_);
    const ModuleRecord* wanted = index_->find(module);
    std::vector<std::string> names = wanted != nullptr ? wanted->dependencies : std::vector<std::string>{};
    names.emplace_back(module);
    std::vector<ModuleRecord> records;
    for (const std::string& name : names) {
        const ModuleRecord* record = index_->find(name);
        records.push_back(record != nullptr ? *record : ModuleRecord());
        records.back().name = name;
    }
    return records;
}

} // namespace kmodguard::core
