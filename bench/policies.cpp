// SPDX-License-Identifier: AGPL-3.0-only
#include "policies.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kmodguard::bench {
namespace {

using Entries = std::vector<core::PolicySource::Entry>;

void add(Entries& entries, std::string text) {
    entries.push_back({std::move(text), {.file = 0, .line = static_cast<std::uint32_t>(entries.size() + 1)}});
}

/// Fills up to `count` entries from `texts`, then with what `invent` makes of a number.
template <typename Invent>
void fill_up(Entries& entries, std::size_t count, const std::vector<std::string>& texts, Invent invent) {
    for (std::size_t i = 0; entries.size() < count; ++i)
        add(entries, i < texts.size() ? texts[i] : invent(i));
}

void fill_up(core::PolicySource& policy, const Sample& sample, std::size_t entries) {
    policy.files = {sample.paths().policy()};
    fill_up(policy.allow_modules, entries / 2, sample.other_modules(),
            [](std::size_t i) { return fmt::format("invented_{}", i); });
    fill_up(policy.allow_aliases, entries / 2, sample.other_patterns(),
            [](std::size_t i) { return fmt::format("pci:v{:08X}d*sv*sd*bc*sc*i*", 0xFFFF0000U + i); });
}

void write_list(std::ofstream& file, std::string_view key, const Entries& entries) {
    file << key << " = [\n";
    for (const auto& entry : entries)
        file << "    '" << entry.text << "',\n"; // a literal string: patterns may hold backslashes
    file << "]\n";
}

} // namespace

core::PolicySource refusing_policy(const Sample& sample, std::size_t entries) {
    core::PolicySource policy;
    fill_up(policy, sample, entries);
    return policy;
}

core::PolicySource refusing_policy_with_denials(const Sample& sample, std::size_t entries,
                                                std::size_t denied) {
    core::PolicySource policy = refusing_policy(sample, entries);
    for (std::size_t i = 0; i < denied; ++i)
        add(policy.deny_aliases, fmt::format("pci:v{:08X}d*sv*sd*bc*sc*i*", 0xFFFE0000U + i));
    return policy;
}

core::PolicySource allowing_policy(const Sample& sample, std::size_t entries) {
    core::PolicySource policy;
    for (const std::string& module : sample.modules())
        add(policy.allow_modules, module);
    fill_up(policy, sample, entries);
    return policy;
}

void write_policy(const Sample& sample, const core::PolicySource& policy) {
    std::ofstream file(sample.paths().policy());
    file << "version = 1\n[allow]\n";
    write_list(file, "modules", policy.allow_modules);
    write_list(file, "aliases", policy.allow_aliases);
    file << "[deny]\n";
    write_list(file, "aliases", policy.deny_aliases);
}

} // namespace kmodguard::bench
