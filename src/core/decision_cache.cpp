// SPDX-License-Identifier: AGPL-3.0-only
#include "core/decision_cache.hpp"

#include <utility>

namespace kmodguard::core {

const Decision* DecisionCache::find(std::string_view token) {
    if (const auto found = young_.find(token); found != young_.end()) return &found->second;
    const auto found = old_.find(token);
    if (found == old_.end()) return nullptr;
    auto node = old_.extract(found);
    return &insert(std::move(node.key()), std::move(node.mapped()));
}

const Decision& DecisionCache::insert(std::string token, Decision decision) {
    if (young_.size() >= half_) {
        old_ = std::exchange(young_, {});
        young_.reserve(half_);
    }
    return young_.insert_or_assign(std::move(token), std::move(decision)).first->second;
}

void DecisionCache::erase(std::string_view token) {
    for (Decisions* half : {&young_, &old_})
        if (const auto found = half->find(token); found != half->end()) half->erase(found);
}

void DecisionCache::clear() {
    young_.clear();
    old_.clear();
}

} // namespace kmodguard::core
