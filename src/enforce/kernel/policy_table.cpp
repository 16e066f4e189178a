// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/policy_table.hpp"

#include "modules/hash.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <span>

namespace kmodguard::kernel {
namespace {

/// One of a table's, in the file.
struct Entry {
    guard_name name;
    guard_rule rule;
};
constexpr std::size_t max_size = GUARD_MAX_MODULES * sizeof(Entry);

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

/// The contents that `table` allows the module of this rule, in order.
std::vector<core::Sha256> pins_of(const PolicyTable& table, const guard_rule& rule) {
    std::vector<core::Sha256> pins;
    const guard_name first = pin_key({}, 0);
    for (auto it = table.lower_bound(first); it != table.end() && it->first.text[0] == GUARD_PIN_MARK; ++it) {
        core::Sha256 sha256;
        std::memcpy(sha256.data(), it->first.text + 1, sha256.size());
        const guard_name pin = pin_key(sha256, rule.number);
        if (std::memcmp(pin.text, it->first.text, sizeof pin.text) == 0) pins.push_back(sha256);
    }
    return pins;
}

bool pins_are_stricter(const PolicyTable& in_force, const guard_rule& before, const PolicyTable& wanted,
                       const guard_rule& after) {
    if ((before.flags & GUARD_PINNED) == 0) return true;
    if ((after.flags & GUARD_PINNED) == 0) return false;
    return std::ranges::includes(pins_of(in_force, before), pins_of(wanted, after));
}

} // namespace

sys::Result<PolicyTable> compile(const core::Policy& policy, const core::Admissions& admissions,
                                 std::uint64_t generation) {
    PolicyTable table;
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

guard_rule head_of(const PolicyTable& table) {
    const auto found = table.find(head_key);
    return found == table.end() ? guard_rule{.number = 0, .flags = GUARD_AUDIT, .reason = 0} : found->second;
}

std::size_t modules_of(const PolicyTable& table) {
    return static_cast<std::size_t>(std::ranges::count_if(table | std::views::keys, is_module));
}

bool audits(const guard_rule& head, std::chrono::seconds now) {
    return (head.flags & GUARD_AUDIT) != 0 && (head.reason == 0 || now.count() < head.reason);
}

std::vector<std::string> loosened(const PolicyTable& in_force, const PolicyTable& wanted) {
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

std::vector<guard_name> taken_away(const PolicyTable& in_force, const PolicyTable& wanted) {
    std::vector<guard_name> found;
    for (const auto& [key, rule] : in_force)
        if (is_module(key) && !wanted.contains(key)) found.push_back(key);
    return found;
}

std::string text_of_table(const PolicyTable& table) {
    std::string content;
    content.reserve(table.size() * sizeof(Entry));
    for (const auto& [name, rule] : table) {
        const Entry entry{.name = name, .rule = rule};
        content.append(reinterpret_cast<const char*>(&entry), sizeof entry);
    }
    return content;
}

sys::Result<PolicyTable> parse_table(std::string_view content) {
    if (content.size() % sizeof(Entry) != 0)
        return sys::failure(sys::ErrorKind::invalid, "no table of the kernel point");
    PolicyTable table;
    for (std::size_t at = 0; at < content.size(); at += sizeof(Entry)) {
        Entry entry;
        std::memcpy(&entry, content.data() + at, sizeof entry);
        table.emplace(entry.name, entry.rule);
    }
    return table;
}

sys::Result<core::Sha256> hash_of(const PolicyTable& table) {
    const std::string content = text_of_table(table);
    return modules::sha256(std::as_bytes(std::span(content)));
}

sys::Result<void> save_table(const std::filesystem::path& path, const PolicyTable& table) {
    constexpr mode_t owner_only = 0600;
    return sys::write_file_atomically(path, text_of_table(table), owner_only);
}

sys::Result<PolicyTable> load_table(const std::filesystem::path& path) {
    const std::string content = TRY(sys::read_file(path, max_size));
    auto table = parse_table(content);
    if (!table) table.error().what = path.native() + " is " + table.error().what;
    return table;
}

} // namespace kmodguard::kernel
