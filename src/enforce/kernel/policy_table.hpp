// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy as the kernel's programs look it up: the admitted names, their pins, and a head with the mode.
// Pure, but for the file: core decides what is admitted, here it is written down.
//
// The file has what the kernel point was sealed with: in the kernel no process can read it any more, and to
// know what a later policy would loosen or take away takes that. Nothing is enforced by the file, and it is
// not believed either: the kernel has its hash, and answers which of its names were taken away since. Without
// it the policy can not be tightened.
#pragma once

#include "core/admission.hpp"
#include "core/policy.hpp"
#include "enforce/kernel/layout.hpp"
#include "sys/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::kernel {

struct NameOrder {
    bool operator()(const guard_name& a, const guard_name& b) const {
        return std::memcmp(a.text, b.text, sizeof a.text) < 0;
    }
};

using PolicyTable = std::map<guard_name, guard_rule, NameOrder>;

/// The key of a table's head.
inline constexpr guard_name head_key{};

/// The table of `policy`, which admits `admissions`. Fails if it has more than GUARD_MAX_MODULES entries.
[[nodiscard]] sys::Result<PolicyTable> compile(const core::Policy& policy, const core::Admissions& admissions,
                                               std::uint64_t generation);

/// The head of `table`; audit and generation 0 if it has none.
[[nodiscard]] guard_rule head_of(const PolicyTable& table);

/// Whether a policy with this head refuses nothing `now`, which counts from the machine's start
/// (CLOCK_BOOTTIME).
[[nodiscard]] bool audits(const guard_rule& head, std::chrono::seconds now);

/// How many modules `table` admits.
[[nodiscard]] std::size_t modules_of(const PolicyTable& table);

/// What `wanted` lets pass and `in_force` does not, as sentences; none if it is the same or stricter.
[[nodiscard]] std::vector<std::string> loosened(const PolicyTable& in_force, const PolicyTable& wanted);

/// The modules that `in_force` admits and `wanted` does not.
[[nodiscard]] std::vector<guard_name> taken_away(const PolicyTable& in_force, const PolicyTable& wanted);

/// The file's content: names and rules as they are in memory.
[[nodiscard]] std::string text_of_table(const PolicyTable& table);
[[nodiscard]] sys::Result<PolicyTable> parse_table(std::string_view content);

/// SHA-256 of that content.
[[nodiscard]] sys::Result<core::Sha256> hash_of(const PolicyTable& table);

[[nodiscard]] sys::Result<void> save_table(const std::filesystem::path& path, const PolicyTable& table);
/// ErrorKind::invalid if it is none.
[[nodiscard]] sys::Result<PolicyTable> load_table(const std::filesystem::path& path);

} // namespace kmodguard::kernel
