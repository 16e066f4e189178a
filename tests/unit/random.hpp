// SPDX-License-Identifier: AGPL-3.0-only
//
// Choices for the tests that try what nobody thought of. Each such test has a seed and a number of rounds, so
// that it is the same each time. KMODGUARD_SEED is a seed to take instead; KMODGUARD_ROUNDS is how many
// rounds to make, "18", or how many times the test's own number, "10x". A test that fails says with which of
// the two it fails again.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

/// What the environment says instead of `usual`; with `may_be_a_factor` also how many times that.
inline unsigned setting(const char* name, unsigned usual, bool may_be_a_factor) {
    const char* set = std::getenv(name);
    if (set == nullptr || *set == '\0') return usual;
    std::size_t used = 0;
    const unsigned long value = std::stoul(set, &used);
    const std::string_view rest = std::string_view(set).substr(used);
    if (rest.empty()) return static_cast<unsigned>(value);
    if (may_be_a_factor && rest == "x") return static_cast<unsigned>(usual * value);
    throw std::invalid_argument(std::string(name) + " is " + set);
}

class Random {
  public:
    Random(unsigned seed, unsigned rounds)
        : seed_(setting("KMODGUARD_SEED", seed, false)), usual_rounds_(rounds),
          rounds_(setting("KMODGUARD_ROUNDS", rounds, true)), engine_(seed_) {
        testing::Test::RecordProperty("seed", std::to_string(seed_));
        testing::Test::RecordProperty("rounds", std::to_string(rounds_));
    }
    Random(const Random&) = delete;
    Random& operator=(const Random&) = delete;
    ~Random() {
        if (testing::Test::HasFailure()) say_how_to_repeat();
    }

    /// Goes on to the next round; false after the last, and after one that has failed. The sequence of
    /// numbers goes on.
    bool next_round() { return !testing::Test::HasFailure() && ++round_ < rounds(); }
    /// The same, but each round has a seed of its own, the one after the last round's, and is repeated by
    /// itself.
    bool next_seed() {
        if (!next_round()) return false;
        has_own_seeds_ = true;
        engine_.seed(seed_ + static_cast<unsigned>(round_));
        return true;
    }
    /// From 0 on.
    [[nodiscard]] int round() const { return round_; }
    [[nodiscard]] int rounds() const { return static_cast<int>(rounds_); }
    /// Fewer rounds than usual, of which nothing is known of how often something happens in them.
    [[nodiscard]] bool is_cut_short() const { return round_ < static_cast<int>(usual_rounds_); }
    /// What is expected of all rounds, of which `of_usual` is expected of the usual number.
    [[nodiscard]] std::size_t scaled(std::size_t of_usual) const {
        return of_usual * rounds_ / usual_rounds_;
    }

    // The engine's numbers are fixed by the standard, and those of the library's distributions are not.
    std::size_t below(std::size_t end) { return static_cast<std::size_t>(engine_()) % end; }
    bool once_in(std::size_t times) { return below(times) == 0; }
    bool chance(std::size_t percent) { return below(100) < percent; }
    bool flip() { return once_in(2); }
    template <typename T>
    const T& one_of(const std::vector<T>& choices) {
        return choices[below(choices.size())];
    }

  private:
    void say_how_to_repeat() const {
        const auto* test = testing::UnitTest::GetInstance()->current_test_info();
        const auto rounds = std::min(static_cast<unsigned>(round_ + 1), rounds_);
        std::cerr << "again: KMODGUARD_SEED=" << (has_own_seeds_ ? seed_ + rounds - 1 : seed_)
                  << " KMODGUARD_ROUNDS=" << (has_own_seeds_ ? 1 : rounds) << ' ' << ::program_invocation_name
                  << " --gtest_filter=" << test->test_suite_name() << '.' << test->name() << '\n';
    }

    unsigned seed_;
    unsigned usual_rounds_;
    unsigned rounds_;
    int round_ = -1;
    bool has_own_seeds_ = false;
    std::mt19937 engine_;
};

} // namespace kmodguard::test
