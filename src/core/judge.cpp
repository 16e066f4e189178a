// SPDX-License-Identifier: AGPL-3.0-only
#include "core/judge.hpp"

#include <utility>

namespace kmodguard::core {
namespace {

std::unique_ptr<ModuleIndex> or_none(std::unique_ptr<ModuleIndex> index) {
    if (index == nullptr) return std::make_unique<NoModules>();
    return index;
}

/// Without an index it is not known which names are those of modules: they are taken for it.
Policy fitted(Policy policy, ModuleIndex* index) {
    return index == nullptr ? std::move(policy) : policy.for_modules_of(*index);
}

} // namespace

Judge::Judge(Policy policy, std::unique_ptr<ModuleIndex> index, std::optional<CallerAnswer> answer)
    : policy_(fitted(std::move(policy), index.get())), answer_(answer.value_or(policy_.answer())),
      index_(or_none(std::move(index))), admissions_(policy_, *index_) {}

Decision Judge::decide(const ImageFacts& facts) {
    const std::scoped_lock lock(mutex_);
    return decide_image(policy_, *index_, admissions_, facts);
}

std::vector<ModuleRecord> Judge::needed_for(std::string_view module) {
    const std::scoped_lock lock(mutex_);
    std::vector<ModuleRecord> records;
    const auto add = [&](std::string_view name) {
        const ModuleRecord* record = index_->find(name);
        records.push_back(record != nullptr ? *record : ModuleRecord());
        records.back().name = name;
    };
    if (const ModuleRecord* record = index_->find(module))
        for (const std::string& dependency : record->dependencies)
            add(dependency);
    add(module);
    return records;
}

} // namespace kmodguard::core
