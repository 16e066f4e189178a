// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how architectures are named, and that no row of their table contradicts itself.
#include "enforce/guest/architecture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace kmodguard::guest {
namespace {

TEST(Architectures, AreFoundByEverySpelling) {
    ASSERT_EQ(architectures().size(), 9U);
    for (const Architecture& row : architectures()) {
        const std::string emulator = "qemu-system-" + std::string(row.emulator);
        for (const std::string& spelling :
             {std::string(row.name), std::string(row.emulator), emulator, "/usr/bin/" + emulator,
              "./build/" + emulator, "/opt/" + std::string(row.name)})
            EXPECT_EQ(find_architecture(spelling), &row) << spelling;
    }
}

TEST(Architectures, AreFoundByTheNamesThatPeopleUse) {
    EXPECT_EQ(find_architecture("qemu-system-x86_64")->name, "amd64");
    EXPECT_EQ(find_architecture("aarch64")->name, "arm64");
    EXPECT_EQ(find_architecture("qemu-system-arm")->name, "armhf");
    EXPECT_EQ(find_architecture("mipsel")->name, "mipsel");
    EXPECT_EQ(find_architecture("/usr/bin/qemu-system-ppc64")->name, "ppc64el");
    EXPECT_EQ(find_architecture("riscv64")->name, "riscv64");
}

TEST(Architectures, ThatAreNotThereAreNotFound) {
    for (const char* name : {"", "qemu-system-", "/", "amd64/", "AMD64", " amd64", "amd64 ", "x86", "i386",
                             "qemu-system-sparc64", "qemu-system-qemu-system-x86_64", "qemu-x86_64"})
        EXPECT_EQ(find_architecture(name), nullptr) << name;
}

TEST(Architectures, NamesAreUnique) {
    std::set<std::string_view> names;
    std::set<std::string_view> emulators;
    for (const Architecture& row : architectures()) {
        EXPECT_TRUE(names.insert(row.name).second) << row.name;
        EXPECT_TRUE(emulators.insert(row.emulator).second) << row.emulator;
    }
}

/// Those that must be told apart: all that calls change.
std::vector<gdb::Register> registers_of(const Architecture& row) {
    std::vector<gdb::Register> all{row.pc, row.stack};
    all.insert(all.end(), row.arguments.begin(), row.arguments.end());
    for (const auto& one : {row.link, row.target, row.state})
        if (one) all.push_back(*one);
    return all;
}

TEST(Architectures, RegistersAreOfTheSizeOfAWordAndDoNotOverlap) {
    for (const Architecture& row : architectures()) {
        ASSERT_TRUE(row.word == 4 || row.word == 8) << row.name;
        const auto all = registers_of(row);
        for (std::size_t i = 0; i < all.size(); ++i) {
            EXPECT_EQ(all[i].size, row.word) << row.name << " " << all[i].number;
            for (std::size_t j = 0; j < i; ++j) {
                EXPECT_NE(all[i].number, all[j].number) << row.name;
                EXPECT_TRUE(all[i].offset + all[i].size <= all[j].offset
                            || all[j].offset + all[j].size <= all[i].offset)
                    << row.name << " " << all[i].number << " " << all[j].number;
            }
        }
    }
}

TEST(Architectures, FramesKeepAllThatCallsChangeWithTheStackAndThePlaceLast) {
    for (const Architecture& row : architectures()) {
        const auto saved = row.saved();
        for (const gdb::Register& one : registers_of(row)) {
            if (one == row.state) continue; // calls do not change it
            EXPECT_NE(std::ranges::find(saved, one), saved.end()) << row.name << " " << one.number;
            const auto telling = row.stop_registers();
            EXPECT_NE(std::ranges::find(telling, one), telling.end()) << row.name << " " << one.number;
        }
        EXPECT_EQ(saved[5], row.stack) << row.name;
        EXPECT_EQ(saved[6], row.pc) << row.name;
        EXPECT_EQ(row.stop_registers()[0], row.pc) << row.name;
        EXPECT_EQ(row.stop_registers()[1], row.stack) << row.name;
    }
}

TEST(Architectures, ResultIsAmongWhatIsToldOfWhoeverStops) {
    for (const Architecture& row : architectures()) {
        const auto telling = row.stop_registers();
        EXPECT_NE(std::ranges::find(telling, row.result), telling.end()) << row.name;
        EXPECT_EQ(row.result.size, row.word) << row.name;
    }
}

TEST(Architectures, SystemCallsHaveTheirArgumentsInWordsOfTheirOwn) {
    for (const Architecture& row : architectures()) {
        ASSERT_FALSE(row.system_calls.empty()) << row.name;
        std::set<std::string_view> prefixes;
        for (const CallConvention& convention : row.system_calls) {
            EXPECT_TRUE(prefixes.insert(convention.prefix).second) << row.name;
            EXPECT_TRUE(convention.prefix.ends_with("sys_")) << row.name;
            const std::set<std::uint16_t> addresses(convention.offsets.begin(), convention.offsets.end());
            if (convention.kind == CallConvention::Kind::registers) continue;
            EXPECT_EQ(addresses.size(), 3U) << row.name << " " << convention.prefix;
            for (const std::uint16_t place : addresses)
                EXPECT_EQ(place % row.word, 0) << row.name << " " << convention.prefix;
        }
        EXPECT_TRUE(std::ranges::any_of(row.system_calls,
                                        [](const CallConvention& one) { return one.prefix == "sys_"; }))
            << row.name << ": old kernels have no wrappers";
    }
}

TEST(Architectures, KernelsAreAboveTheirProcesses) {
    for (const Architecture& row : architectures()) {
        EXPECT_GE(row.kernel_base, 0x4000'0000U) << row.name;
        EXPECT_EQ(row.kernel_base & row.address_mask(), row.kernel_base) << row.name;
        EXPECT_EQ(row.kaslr_step & (row.kaslr_step - 1), 0U) << row.name << ": a power of two, or 0";
        EXPECT_TRUE(row.breakpoint_kind == 1 || row.breakpoint_kind == 4) << row.name;
    }
    EXPECT_EQ(find_architecture("armhf")->address_mask(), 0xffff'ffffU);
    EXPECT_EQ(find_architecture("amd64")->address_mask(), ~std::uint64_t{0});
}

} // namespace
} // namespace kmodguard::guest
