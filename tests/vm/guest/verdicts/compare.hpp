// SPDX-License-Identifier: AGPL-3.0-only
//
// What core::decide() answers beside what the kernel does.
#pragma once

#include "verdicts/machine.hpp"
#include "verdicts/world.hpp"

#include <cstdint>

namespace kmodguard::verdicts {

struct Totals {
    std::uint64_t policies = 0;
    std::uint64_t images = 0;
    std::uint64_t loads = 0; ///< system calls that the guard was asked about
    std::uint64_t allowed = 0;
    std::uint64_t refused = 0;
    std::uint64_t audited = 0;
    std::uint64_t disagreements = 0;
};

/// Publishes the policy of this seed's world as of that generation, and brings its images in every way.
void compare(GuardedMachine& machine, std::uint64_t seed, std::uint64_t generation, Totals& totals);

/// Publishes two policies in turn while a thread loads the image that they differ about. False: an answer was
/// neither's, or not of the one in force. Prints what it saw.
[[nodiscard]] bool swap_policies(GuardedMachine& machine, std::uint64_t swaps);

} // namespace kmodguard::verdicts
