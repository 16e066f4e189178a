// SPDX-License-Identifier: AGPL-3.0-only
//
// Decisions already made, for tokens that come again: a user who asks for the same missing module a thousand
// times costs a look-up each. Bounded, because anybody can invent tokens: when the young half is full it
// becomes the old half, and the old one is forgotten.
#pragma once

#include "core/decision.hpp"
#include "core/pattern_set.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace kmodguard::core {

class DecisionCache {
  public:
    explicit DecisionCache(std::size_t capacity = 1024) : half_(capacity / 2) {}

    /// The decision on `token`, or nullptr. Valid until the next call of a member that is not const.
    [[nodiscard]] const Decision* find(std::string_view token) {
        if (const auto found = young_.find(token); found != young_.end()) return &found->second;
        const auto found = old_.find(token);
        if (found == old_.end()) return nullptr;
        auto node = old_.extract(found);
        return &insert(std::move(node.key()), std::move(node.mapped()));
    }

    const Decision& insert(std::string token, Decision decision) {
        if (young_.size() >= half_) {
            old_ = std::exchange(young_, {});
            young_.reserve(half_);
        }
        return young_.insert_or_assign(std::move(token), std::move(decision)).first->second;
    }

    void erase(std::string_view token) {
        if (const auto found = young_.find(token); found != young_.end()) young_.erase(found);
        if (const auto found = old_.find(token); found != old_.end()) old_.erase(found);
    }

    void clear() {
        young_.clear();
        old_.clear();
    }

    [[nodiscard]] std::size_t size() const { return young_.size() + old_.size(); }

  private:
    using Decisions = std::unordered_map<std::string, Decision, StringHash, std::equal_to<>>;

    std::size_t half_;
    Decisions young_;
    Decisions old_;
};

} // namespace kmodguard::core
