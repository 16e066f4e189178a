// SPDX-License-Identifier: AGPL-3.0-only
//
// Decisions already made, for tokens that come again: a user who asks for the same missing module a thousand
// times costs a look-up each. Bounded, because any process can invent tokens: when the young half is full it
// becomes the old half, and the old one is forgotten.
#pragma once

#include "core/decision.hpp"
#include "core/pattern_set.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

namespace kmodguard::core {

class DecisionCache {
  public:
    explicit DecisionCache(std::size_t capacity = 1024) : half_(capacity / 2) {}

    /// The decision on `token`, or nullptr. Valid until the next call of a member that is not const.
    [[nodiscard]] const Decision* find(std::string_view token);

    const Decision& insert(std::string token, Decision decision);

    void erase(std::string_view token);

    void clear();

    [[nodiscard]] std::size_t size() const { return young_.size() + old_.size(); }

  private:
    using Decisions = std::unordered_map<std::string, Decision, StringHash, std::equal_to<>>;

    std::size_t half_;
    Decisions young_;
    Decisions old_;
};

} // namespace kmodguard::core
