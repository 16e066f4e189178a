// SPDX-License-Identifier: AGPL-3.0-only
//
// Choices that a seed makes again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>

namespace kmodguard::verdicts {

class Random {
  public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    /// 0 to `end` - 1.
    std::size_t below(std::size_t end) {
        return std::uniform_int_distribution<std::size_t>(0, end - 1)(engine_);
    }
    std::size_t between(std::size_t first, std::size_t last) { return first + below(last - first + 1); }
    bool one_in(std::size_t chances) { return below(chances) == 0; }

    template <typename Choices>
    const auto& choose(const Choices& choices) {
        return choices[below(std::size(choices))];
    }

  private:
    std::mt19937_64 engine_;
};

} // namespace kmodguard::verdicts
