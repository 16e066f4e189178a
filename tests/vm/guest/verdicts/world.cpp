// SPDX-License-Identifier: AGPL-3.0-only
#include "verdicts/world.hpp"

#include "core/names.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace kmodguard::verdicts {
namespace {

constexpr std::array aliases = {"fs-one",   "fs-two", "net-pf-1",   "net-pf-12",
                                "pci:v1d*", "pci:v*", "net-pf-[12]"};
constexpr std::array patterns = {"fs-*",    "fs_two", "net-pf-1*", "net_pf_?",
                                 "pci:v1*", "m[01]",  "dm-crypt",  "net-pf-[12]"};

const std::string& any_name(Random& random) {
    return random.choose(module_names());
}

/// Hard dependencies, all of them: modules that stand before it and what these need, as depmod writes them.
void add_dependencies(test::FakeIndex& index, std::size_t which, Random& random) {
    test::FakeModule& module = index.module(module_names()[which]);
    std::vector<std::string> needed;
    const auto need = [&](const std::string& name) {
        if (std::ranges::find(needed, name) != needed.end()) return;
        needed.push_back(name);
        module.needs(name);
    };
    for (std::size_t other = 0; other < which; ++other) {
        if (!random.one_in(6)) continue;
        const std::string& name = module_names()[other];
        if (const core::ModuleRecord* record = index.find(name))
            for (const std::string& indirect : record->dependencies)
                need(indirect);
        need(name);
    }
}

test::FakeIndex random_index(Random& random) {
    test::FakeIndex index;
    for (std::size_t which = 0; which < module_names().size(); ++which) {
        if (random.one_in(15)) continue; // not there, though others may need it
        test::FakeModule& module = index.module(module_names()[which]);
        for (std::size_t count = random.below(3); count > 0; --count)
            module.alias(random.choose(aliases));
        if (random.one_in(10)) module.alias_in_index(random.choose(aliases));
        if (random.one_in(25)) module.aliases_unreadable();
        if (random.one_in(15)) module.blacklisted();
        if (random.one_in(15)) module.install_command();
        if (random.one_in(4)) module.soft_before(any_name(random));
        if (random.one_in(5)) module.soft_after(any_name(random));
        if (random.one_in(15))
            module.built_in();
        else
            add_dependencies(index, which, random);
    }
    if (random.one_in(4)) index.configured_alias(random.choose(aliases), any_name(random));
    return index;
}

core::PolicySource random_policy(Random& random, const std::vector<modules::ImageIdentity>& identities) {
    core::PolicySource policy;
    policy.mode = random.one_in(4) ? core::Mode::audit : core::Mode::enforce;
    policy.dependencies = !random.one_in(3);
    for (std::size_t count = random.below(6); count > 0; --count)
        policy.allow_modules.push_back({any_name(random), {}});
    for (std::size_t count = random.below(3); count > 0; --count)
        policy.allow_aliases.push_back({random.choose(patterns), {}});
    if (random.one_in(15)) policy.allow_aliases.push_back({"*", {}});
    if (random.one_in(3)) policy.deny_modules.push_back({any_name(random), {}});
    if (random.one_in(5)) policy.deny_aliases.push_back({random.choose(patterns), {}});
    for (std::size_t count = random.below(4); count > 0; --count) {
        const core::ImageFacts& facts = random.choose(identities).facts;
        const std::string name =
            facts.name.empty() || random.one_in(4) ? any_name(random) : core::fold(facts.name);
        const auto number = static_cast<std::uint8_t>(random.below(256));
        policy.pins.push_back({name, random.one_in(3) ? test::content(number) : *facts.sha256, {}});
    }
    return policy;
}

std::string texts_of(const std::vector<core::PolicySource::Entry>& entries) {
    std::vector<std::string> texts;
    for (const auto& entry : entries)
        texts.push_back(entry.text);
    return fmt::format("{}", texts);
}

} // namespace

World random_world(std::uint64_t seed) {
    Random random(seed);
    World world{.index = random_index(random), .policy = {}, .images = {}, .identities = {}};
    for (std::size_t count = random.between(5, 8); count > 0; --count) {
        world.images.push_back(random_image(random));
        world.identities.push_back(modules::identify_image(world.images.back().bytes, {.with_hash = true}));
    }
    world.policy = random_policy(random, world.identities);
    return world;
}

std::string describe(const core::PolicySource& policy) {
    std::vector<std::string> pins;
    for (const auto& pin : policy.pins)
        pins.push_back(pin.module + "=" + core::to_hex(pin.sha256).substr(0, 12));
    return fmt::format(
        "mode {}, dependencies {}, allow modules {} aliases {}, deny modules {} aliases {}, pins {}",
        core::to_string(policy.mode), policy.dependencies, texts_of(policy.allow_modules),
        texts_of(policy.allow_aliases), texts_of(policy.deny_modules), texts_of(policy.deny_aliases), pins);
}

} // namespace kmodguard::verdicts
