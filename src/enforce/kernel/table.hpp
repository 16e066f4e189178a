// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy as the kernel's programs look it up: the admitted names, their pins, and a head with the mode.
// Pure: core decides what is admitted, here it is written down.
#pragma once

#include "core/admission.hpp"
#include "core/policy.hpp"
#include "enforce/kernel/layout.hpp"
#include "sys/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace kmodguard::kernel {

struct NameOrder {
    bool operator()(const guard_name& a, const guard_name& b) const {
        return std::memcmp(a.text, b.text, sizeof a.text) < 0;
    }
};

using Table = std::map<guard_name, guard_rule, NameOrder>;

/// The key of a table's head.
inline constexpr guard_name head_key{};

/// The table of `policy`, which admits `admissions`. Fails if it has more than GUARD_MAX_MODULES entries.
[[nodiscard]] sys::Result<Table> compile(const core::Policy& policy, const core::Admissions& admissions,
                                         std::uint64_t generation);

/// What `wanted` lets pass and `in_force` does not, as sentences; none if it is the same or stricter.
[[nodiscard]] std::vector<std::string> loosened(const Table& in_force, const Table& wanted);

/// The modules that `in_force` admits and `wanted` does not.
[[nodiscard]] std::vector<guard_name> taken_away(const Table& in_force, const Table& wanted);

/// Whether a policy with this head refuses nothing `now`, which counts from the machine's start
/// (CLOCK_BOOTTIME).
[[nodiscard]] bool audits(const guard_rule& head, std::chrono::seconds now);

/// How many modules `table` admits.
[[nodiscard]] std::size_t modules_of(const Table& table);

/// The head of `table`; audit and generation 0 if it has none.
[[nodiscard]] guard_rule head_of(const Table& table);

} // namespace kmodguard::kernel
