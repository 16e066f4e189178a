// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the tables of maps and programs have a row for each that is in the object file, and for nothing
// else: what has no row would be neither pinned nor frozen nor closed by the seal.
#include "enforce/kernel/pins.hpp"

#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <kmodguard.skel.h>

#include <memory>
#include <set>
#include <string>

namespace kmodguard::kernel {
namespace {

using Names = std::multiset<std::string>;

struct Destroy {
    void operator()(kmodguard_programs* skeleton) const { kmodguard_programs__destroy(skeleton); }
};

class ProgramTables : public ::testing::Test {
  protected:
    /// Of the programs whose section begins so, the rest of that.
    Names programs_in(const std::string& prefix) {
        Names names;
        const bpf_program* program = nullptr;
        while ((program = bpf_object__next_program(skeleton->obj, const_cast<bpf_program*>(program)))
               != nullptr)
            if (const std::string section = bpf_program__section_name(program); section.starts_with(prefix))
                names.insert(section.substr(prefix.size()));
        return names;
    }
    const std::unique_ptr<kmodguard_programs, Destroy> skeleton{kmodguard_programs__open()};
};

TEST_F(ProgramTables, EveryMapHasARow) {
    Names maps;
    const bpf_map* map = nullptr;
    while ((map = bpf_object__next_map(skeleton->obj, map)) != nullptr)
        // The compiler's own for constants; one for variables would be neither pinned nor frozen.
        if (const std::string name = bpf_map__name(map); !name.contains(".rodata")) maps.insert(name);
    Names rows;
    for (const MapRow& row : map_table)
        rows.emplace(row.name);
    EXPECT_EQ(rows, maps);
}

TEST_F(ProgramTables, EveryRowIsAMapOfItsOwn) {
    Pins pins;
    std::set<const RawMap*> members;
    for (const MapRow& row : map_table)
        EXPECT_TRUE(members.insert(&row.in(pins)).second) << row.name;
}

/// Of these a process that has a descriptor could have a program of its own write to them.
TEST_F(ProgramTables, TheSealClosesAllThatTheVerdictDependsOn) {
    Names closed;
    for (const MapRow& row : map_table)
        if (row.seal == Seal::closes) closed.emplace(row.name);
    EXPECT_EQ(closed, (Names{"settings", "policy", "policy_a", "policy_b", "inventory", "content_key",
                             "tightened", "protected_maps", "scratch", "empty_scratch"}));
}

TEST_F(ProgramTables, EveryProgramHasARow) {
    Names hooks;
    Names without_request;
    Names called;
    for (const ProgramRow& row : program_table) {
        if (row.kind == Kind::called) called.emplace(row.name);
        if (row.kind != Kind::called) hooks.emplace(row.name);
        if (row.kind == Kind::hook) without_request.emplace(row.name);
    }
    EXPECT_EQ(programs_in("fmod_ret/security_"), hooks);
    EXPECT_EQ(programs_in("lsm/"), without_request);
    EXPECT_EQ(programs_in("syscall").size(), called.size());
    for (const std::string& name : called)
        EXPECT_NE(bpf_object__find_program_by_name(skeleton->obj, name.c_str()), nullptr) << name;
}

} // namespace
} // namespace kmodguard::kernel
