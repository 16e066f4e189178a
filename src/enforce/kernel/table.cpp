// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/table.hpp"

#include <fmt/format.h>

namespace kmodguard::kernel {
namespace {

guard_name pin_key(const core::Sha256& sha256, std::uint64_t number) {
    guard_name key{};
    key.text[0] = GUARD_PIN_MARK;
    std::memcpy(key.text + 1, sha256.data(), sha256.size());
    for (std::size_t i = 0; i < 4; ++i)
        key.text[1 + GUARD_HASH_SIZE + i] = static_cast<char>(number >> (8 * i));
    return key;
}

bool is_module(const guard_name& key) {
    return key.text[0] != '\0' && key.text[0] != GUARD_PIN_MARK;
}

} // namespace

sys::Result<Table> compile(const core::Policy& policy, const core::Admissions& admissions,
                           std::uint64_t generation) {
    Table table;
    const bool audits = policy.mode() == core::Mode::audit;
    const auto ends = policy.source().audit_ends.value_or(std::chrono::seconds(0));
    table[head_key] = {.number = generation,
                       .flags = audits ? GUARD_AUDIT : 0,
                       .reason = audits ? static_cast<std::uint32_t>(ends.count()) : 0};
    std::uint64_t number = 0;
    for (const auto& [module, admission] : admissions.all()) {
        const auto key = name_key(module);
        if (!key) continue; // longer than any name that a kernel registers
        const auto pins = policy.pins(module);
        ++number;
        table[*key] = {.number = number,
                       .flags = pins.empty() ? 0 : GUARD_PINNED,
                       .reason = static_cast<std::uint32_t>(admission.reason)};
        for (const auto& pin : pins)
            table[pin_key(pin.sha256, number)] = {};
    }
    if (table.size() > GUARD_MAX_MODULES)
        return sys::failure(sys::ErrorKind::bad_policy,
                            fmt::format("the policy admits {} modules and pins, more than the {} that the "
                                        "kernel point holds",
                                        table.size() - 1, GUARD_MAX_MODULES - 1),
                            "narrow its alias patterns");
    return table;
}

guard_rule head_of(const Table& table) {
    const auto found = table.find(head_key);
    return found == table.end() ? guard_rule{.number = 0, .flags = GUARD_AUDIT, .reason = 0} : found->second;
}

std::size_t modules_of(const Table& table) {
    return static_cast<std::size_t>(
        std::ranges::count_if(table, [](const auto& entry) { return is_module(entry.first); }));
}

bool audits(const guard_rule& head, std::chrono::seconds now) {
    return (head.flags & GUARD_AUDIT) != 0 && (head.reason == 0 || now.count() < head.reason);
}

namespace {

/// The contents that `table` allows the module of this rule.
std::vector<std::string> pins_of(const Table& table, const guard_rule& rule) {
    std::vector<std::string> pins;
    const guard_name mark = pin_key({}, 0);
    for (auto it = table.lower_bound(mark); it != table.end() && it->first.text[0] == GUARD_PIN_MARK; ++it) {
        const std::string hash(it->first.text + 1, GUARD_HASH_SIZE);
        core::Sha256 sha256;
        std::memcpy(sha256.data(), hash.data(), hash.size());
        const guard_name expected = pin_key(sha256, rule.number);
        if (std::memcmp(expected.text, it->first.text, sizeof expected.text) == 0) pins.push_back(hash);
    }
    return pins;
}

bool pins_are_stricter(const Table& in_force, const guard_rule& before, const Table& wanted,
                       const guard_rule& after) {
    if ((before.flags & GUARD_PINNED) == 0) return true;
    if ((after.flags & GUARD_PINNED) == 0) return false;
    const auto old_pins = pins_of(in_force, before);
    const auto new_pins = pins_of(wanted, after);
    return std::ranges::all_of(
        new_pins, [&](const auto& pin) { return std::ranges::find(old_pins, pin) != old_pins.end(); });
}

} // namespace

std::vector<std::string> loosened(const Table& in_force, const Table& wanted) {
    std::vector<std::string> found;
    if ((head_of(wanted).flags & GUARD_AUDIT) != 0 && (head_of(in_force).flags & GUARD_AUDIT) == 0)
        found.emplace_back("the mode would be audit");
    for (const auto& [key, rule] : wanted) {
        if (!is_module(key)) continue;
        const auto before = in_force.find(key);
        if (before == in_force.end())
            found.push_back(fmt::format("{} would be allowed", text_of(key.text)));
        else if (!pins_are_stricter(in_force, before->second, wanted, rule))
            found.push_back(fmt::format("{} would be allowed with other content", text_of(key.text)));
    }
    return found;
}

std::vector<guard_name> taken_away(const Table& in_force, const Table& wanted) {
    std::vector<guard_name> found;
    for (const auto& [key, rule] : in_force)
        if (is_module(key) && !wanted.contains(key)) found.push_back(key);
    return found;
}

} // namespace kmodguard::kernel
