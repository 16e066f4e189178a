// SPDX-License-Identifier: AGPL-3.0-only
//
// verdicts [POLICIES [FIRST_SEED]]: guards this machine's kernel with one random policy after the other,
// brings it crafted images, and compares what it does with what core::decide() says. verdicts --swap SWAPS:
// is a policy published whole? Status 1: not what it should be; 2: nothing could be compared. Takes root, and
// a machine that is for nothing else.
#include "verdicts/compare.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

namespace kmodguard::verdicts {
namespace {

constexpr std::uint64_t default_policies = 2000;

std::uint64_t number(const char* text) {
    return std::strtoull(text, nullptr, 10);
}

bool compare_all(GuardedMachine& machine, std::uint64_t policies, std::uint64_t first_seed) {
    Totals totals;
    for (std::uint64_t i = 0; i < policies; ++i)
        compare(machine, first_seed + i, i + 1, totals);
    fmt::print("{} loads: {} allowed, {} refused, {} let pass by audit mode\n", totals.loads, totals.allowed,
               totals.refused, totals.audited);
    fmt::print("{} policies, {} images, {} disagreements\n", totals.policies, totals.images,
               totals.disagreements);
    return totals.disagreements == 0;
}

int run(int count, char** arguments) {
    GuardedMachine machine;
    fmt::print("by {}\n", kernel::to_string(machine.support().mechanism));
    const bool swaps = count > 2 && std::string_view(arguments[1]) == "--swap";
    const bool well = swaps ? swap_policies(machine, number(arguments[2]))
                            : compare_all(machine, count > 1 ? number(arguments[1]) : default_policies,
                                          count > 2 ? number(arguments[2]) : 1);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

} // namespace
} // namespace kmodguard::verdicts

int main(int count, char** arguments) {
    return kmodguard::verdicts::run(count, arguments);
}
