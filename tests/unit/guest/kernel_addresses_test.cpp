// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows which names of a kernel are taken for the addresses that matter, on each architecture and in kernels
// of each age, and which kernels cannot be guarded.
#include "enforce/guest/kernel_addresses.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

namespace kmodguard::guest {
namespace {

using Names = std::vector<std::pair<std::string, std::uint64_t>>;
using Addresses = std::vector<std::uint64_t>;

constexpr std::uint64_t base = 0xffff'8000'1000'0000;

symbols::Symbols symbols_of(const Names& names) {
    std::string text;
    for (const auto& [name, offset] : names)
        text += fmt::format("{:016x} T {}\n", base + offset, name);
    auto symbols = symbols::read_symbols(std::as_bytes(std::span(text)), "System.map");
    if (!symbols) throw std::runtime_error(symbols.error().what);
    return std::move(*symbols);
}

/// A kernel of today whose system calls are called `prefix`...
Names kernel(const std::string& prefix = "__x64_sys_") {
    return {{"_stext", 0},
            {"_etext", 0x90'0000},
            {"panic", 0x1000},
            {"memcpy", 0x1100},
            {"fget", 0x1200},
            {"fput", 0x1300},
            {"file_path", 0x1400},
            {"strndup_user", 0x1500},
            {"memdup_user", 0x1600},
            {"kfree", 0x1700},
            {"start_kernel", 0x1800},
            {"machine_restart", 0x1900},
            {"machine_emergency_restart", 0x1a00},
            {"modules", 0x1b00},
            {"linux_banner", 0x91'0000},
            {prefix + "getpid", 0x2000},
            {prefix + "init_module", 0x2100},
            {prefix + "finit_module", 0x2200},
            {prefix + "delete_module", 0x2300},
            {"load_module", 0x3000}};
}

Names without(Names names, std::initializer_list<std::string> left_out) {
    std::erase_if(names, [&](const auto& one) {
        return std::ranges::any_of(left_out,
                                   [&](const std::string& end) { return one.first.ends_with(end); });
    });
    return names;
}

Names with(Names names, std::string name, std::uint64_t offset) {
    names.emplace_back(std::move(name), offset);
    return names;
}

const Architecture& amd64() {
    return *find_architecture("amd64");
}

KernelAddresses addresses_of(const Names& names, const Architecture& architecture = amd64(),
                             Interception interception = Interception::automatic) {
    const auto addresses = find_addresses(symbols_of(names), architecture, interception);
    EXPECT_TRUE(addresses) << (addresses ? "" : addresses.error().what);
    return addresses.value_or(KernelAddresses{});
}

void expect_refused(const Names& names, std::string_view what,
                    Interception interception = Interception::automatic) {
    const auto addresses = find_addresses(symbols_of(names), amd64(), interception);
    ASSERT_FALSE(addresses);
    EXPECT_EQ(addresses.error().kind, sys::ErrorKind::invalid);
    EXPECT_TRUE(addresses.error().what.contains(what)) << addresses.error().what;
    EXPECT_FALSE(addresses.error().hint.empty());
}

/// "init_module 2100 saved" for each, in their order.
std::vector<std::string> calls_of(const KernelAddresses& addresses) {
    std::vector<std::string> all;
    for (const SystemCall& call : addresses.calls)
        all.push_back(
            fmt::format("{} {:x} {}", to_string(call.call), call.address - base, call.convention.prefix));
    return all;
}

TEST(KernelAddresses, OfAKernelAreFoundByName) {
    const KernelAddresses addresses = addresses_of(kernel());
    EXPECT_EQ(calls_of(addresses),
              (std::vector<std::string>{"init_module 2100 __x64_sys_", "finit_module 2200 __x64_sys_",
                                        "delete_module 2300 __x64_sys_"}));
    EXPECT_EQ(addresses.load_module, Addresses{base + 0x3000});
    EXPECT_EQ(addresses.text_begin, base);
    EXPECT_EQ(addresses.text_end, base + 0x90'0000);
    EXPECT_EQ(addresses.banner, base + 0x91'0000);
    EXPECT_EQ(addresses.modules, base + 0x1b00);
    EXPECT_EQ(addresses.start, base + 0x1800);
    EXPECT_EQ(addresses.restarts, (Addresses{base + 0x1900, base + 0x1a00}));
    EXPECT_FALSE(addresses.fixed);
    const Functions& functions = addresses.functions;
    EXPECT_EQ((Addresses{functions.return_trampoline, functions.copy, functions.get_file, functions.put_file,
                         functions.file_path, functions.duplicate_text, functions.duplicate_memory,
                         functions.free, functions.process_id}),
              (Addresses{base + 0x1000, base + 0x1100, base + 0x1200, base + 0x1300, base + 0x1400,
                         base + 0x1500, base + 0x1600, base + 0x1700, base + 0x2000}));
}

TEST(KernelAddresses, OfEveryArchitectureAreFoundByEachOfItsNames) {
    for (const Architecture& row : architectures())
        for (const CallConvention& convention : row.system_calls) {
            const KernelAddresses addresses = addresses_of(kernel(std::string(convention.prefix)), row);
            ASSERT_EQ(addresses.calls.size(), 3U) << row.name << " " << convention.prefix;
            for (const SystemCall& call : addresses.calls) {
                EXPECT_EQ(call.convention.prefix, convention.prefix) << row.name;
                EXPECT_EQ(call.convention.offsets, convention.offsets) << row.name;
                EXPECT_EQ(call.convention.kind, convention.kind) << row.name;
            }
            EXPECT_EQ(addresses.functions.process_id, base + 0x2000) << row.name;
        }
}

TEST(KernelAddresses, OfA64BitKernelAreThoseOf32BitProgramsToo) {
    auto names = kernel();
    for (const auto& [name, offset] :
         Names{{"init_module", 0x4100}, {"finit_module", 0x4200}, {"delete_module", 0x4300}})
        names.emplace_back("__ia32_sys_" + name, offset);
    EXPECT_EQ(calls_of(addresses_of(names)),
              (std::vector<std::string>{"init_module 2100 __x64_sys_", "init_module 4100 __ia32_sys_",
                                        "finit_module 2200 __x64_sys_", "finit_module 4200 __ia32_sys_",
                                        "delete_module 2300 __x64_sys_", "delete_module 4300 __ia32_sys_"}));
}

/// A kernel whose calls have two wrappers each, `room` bytes long.
Names with_wrappers(std::uint64_t room) {
    auto names = without(kernel(), {"_module"});
    std::uint64_t at = 0x2100;
    for (const std::string prefix : {"__x64_sys_", "__ia32_sys_"})
        for (const std::string call : {"init_module", "finit_module", "delete_module"})
            names.emplace_back(prefix + call, std::exchange(at, at + room));
    names.emplace_back("load_module", at);
    for (const std::string call : {"init_module", "finit_module", "delete_module"})
        names.emplace_back("__do_sys_" + call, at += 0x400);
    return names;
}

TEST(KernelAddresses, OfTwoWrappersAreTheFunctionThatBothCall) {
    const KernelAddresses addresses = addresses_of(with_wrappers(0x20));
    EXPECT_EQ(calls_of(addresses),
              (std::vector<std::string>{"init_module 25c0 __do_sys_", "finit_module 29c0 __do_sys_",
                                        "delete_module 2dc0 __do_sys_"}));
    for (const SystemCall& call : addresses.calls)
        EXPECT_EQ(call.convention.kind, CallConvention::Kind::registers);
}

TEST(KernelAddresses, OfWrappersThatMayHaveTheCallInThemAreTheWrappers) {
    EXPECT_EQ(addresses_of(with_wrappers(0x30)).calls.size(), 6U);
    for (const char* piece : {".part.0", ".constprop.0"}) // made of one wrapper's share of it
        EXPECT_EQ(
            addresses_of(with(with_wrappers(0x20), std::string("__do_sys_finit_module") + piece, 0x4000))
                .calls.size(),
            4U)
            << piece;
    EXPECT_EQ(addresses_of(with(with_wrappers(0x20), "__do_sys_finit_module.cold", 0x4000)).calls.size(), 3U);
    EXPECT_EQ(addresses_of(with(with_wrappers(0x20), "sys_init_module", 0x4000)).calls.size(), 5U);
    EXPECT_EQ(addresses_of(with(with_wrappers(0x20), "__x64_sys_init_module", 0x4000)).calls.size(), 5U)
        << "two of one name";
}

TEST(KernelAddresses, BothWaysToRestartAPcAreOne) {
    const auto names =
        with(with(kernel(), "native_machine_emergency_restart", 0x5000), "machine_kexec", 0x5100);
    EXPECT_EQ(addresses_of(names).restarts, (Addresses{base + 0x5000, base + 0x5100}));
}

TEST(KernelAddresses, OneFunctionOfTwoNamesIsOneAddress) {
    auto names = kernel();
    names.emplace_back("__ia32_sys_init_module", 0x2100);
    EXPECT_EQ(addresses_of(names).calls.size(), 3U);
}

TEST(KernelAddresses, OfPowerpcAreBehindWhatSetsUpTheTableOfContents) {
    const Architecture& row = *find_architecture("ppc64el");
    const KernelAddresses addresses = addresses_of(kernel("sys_"), row);
    EXPECT_EQ(calls_of(addresses),
              (std::vector<std::string>{"init_module 2108 sys_", "finit_module 2208 sys_",
                                        "delete_module 2308 sys_"}));
    EXPECT_EQ(addresses.load_module, Addresses{base + 0x3008});
    EXPECT_EQ(addresses.start, base + 0x1808);
    EXPECT_EQ(addresses.restarts, (Addresses{base + 0x1908, base + 0x1a08}));
    EXPECT_EQ(addresses.functions.get_file, base + 0x1200) << "calls come in at the beginning";
    EXPECT_EQ(addresses.functions.return_trampoline, base + 0x1000);
    EXPECT_EQ(addresses.text_begin, base);
    EXPECT_EQ(addresses.banner, base + 0x91'0000);
    EXPECT_EQ(addresses_of(without(kernel("sys_"), {"start_kernel"}), row).start, 0U) << "none is not at 8";
}

TEST(KernelAddresses, OfAKernelBefore38AreTheSystemCalls) {
    const auto names = without(kernel("sys_"), {"finit_module"});
    const KernelAddresses addresses = addresses_of(names);
    EXPECT_TRUE(addresses.load_module.empty()) << "its load_module() has no copy yet";
    EXPECT_EQ(calls_of(addresses),
              (std::vector<std::string>{"init_module 2100 sys_", "delete_module 2300 sys_"}));
    EXPECT_EQ(addresses_of(names, amd64(), Interception::load_module).load_module, Addresses{base + 0x3000})
        << "unless somebody knows better";
}

TEST(KernelAddresses, CanBeTheSystemCallsOfAnyKernel) {
    EXPECT_TRUE(addresses_of(kernel(), amd64(), Interception::system_call).load_module.empty());
    EXPECT_TRUE(addresses_of(without(kernel(), {"load_module"})).load_module.empty())
        << "and are, where there is no name for load_module()";
}

TEST(KernelAddresses, EveryEntryOfLoadModuleIsOneButNotItsPieces) {
    auto names = without(kernel(), {"load_module"});
    for (const auto& [name, offset] : Names{{"load_module.isra.0", 0x3100},
                                            {"load_module.constprop.0", 0x3200},
                                            {"load_module.isra.0.cold", 0x3300},
                                            {"load_module.cold", 0x3400},
                                            {"load_module_data", 0x3600}})
        names.emplace_back(name, offset);
    auto found = addresses_of(names).load_module;
    std::ranges::sort(found);
    EXPECT_EQ(found, (Addresses{base + 0x3100, base + 0x3200}));
    names.emplace_back("load_module.part.0", 0x3500); // its callers may have the rest of it in them
    EXPECT_TRUE(addresses_of(names).load_module.empty());
}

TEST(KernelAddresses, OfAnAmbiguousNameAreNone) {
    auto names = kernel();
    for (const char* name :
         {"kfree", "modules", "linux_banner", "start_kernel", "machine_restart", "__x64_sys_getpid"})
        names.emplace_back(name, 0x5000);
    const KernelAddresses addresses = addresses_of(names);
    EXPECT_EQ(addresses.functions.free, 0U);
    EXPECT_EQ(addresses.modules, 0U);
    EXPECT_EQ(addresses.banner, 0U);
    EXPECT_EQ(addresses.start, 0U);
    EXPECT_EQ(addresses.restarts, Addresses{base + 0x1a00});
    EXPECT_EQ(addresses.functions.process_id, 0U);
    expect_refused(with(kernel(), "panic", 0x5000), "panic");
}

TEST(KernelAddresses, OfAKernelWithoutModulesAreAnError) {
    expect_refused(without(kernel(), {"init_module", "finit_module"}),
                   "no system call that loads modules, on amd64");
    expect_refused(kernel("__arm64_sys_"), "System.map");
}

TEST(KernelAddresses, OfAKernelWithoutPanicAreAnError) {
    expect_refused(without(kernel(), {"panic"}), "panic()");
}

TEST(KernelAddresses, AtLoadModuleAreAnErrorWhereNothingIsCalledSo) {
    expect_refused(without(kernel(), {"load_module"}), "load_module()", Interception::load_module);
    expect_refused(with(without(kernel(), {"load_module"}), "load_module.cold", 0x3400), "load_module()",
                   Interception::load_module);
}

TEST(KernelAddresses, OnlyTheUsefulAreMissingWhereANameIs) {
    const KernelAddresses addresses =
        addresses_of(without(kernel(), {"fget", "file_path", "getpid", "linux_banner", "modules",
                                        "machine_restart", "machine_emergency_restart"}));
    EXPECT_EQ(addresses.functions.get_file, 0U);
    EXPECT_EQ(addresses.functions.file_path, 0U);
    EXPECT_EQ(addresses.functions.process_id, 0U);
    EXPECT_EQ(addresses.banner, 0U);
    EXPECT_TRUE(addresses.restarts.empty());
    EXPECT_EQ(addresses.calls.size(), 3U);
}

TEST(KernelAddresses, BannerOfTheSymbolsThemselvesWillDo) {
    auto symbols = symbols_of(without(kernel(), {"linux_banner"}));
    symbols.set_banner({.text = "Linux version 6.1", .address = base + 0x92'0000});
    EXPECT_EQ(find_addresses(symbols, amd64())->banner, base + 0x92'0000);
    symbols.set_banner({.text = "Linux version 6.1", .address = std::nullopt});
    EXPECT_EQ(find_addresses(symbols, amd64())->banner, 0U);
}

TEST(KernelAddresses, CodeIsAroundPanicWhereItsEndsAreNotKnown) {
    for (const auto& names : {without(kernel(), {"_stext"}), without(kernel(), {"_etext"}),
                              with(without(kernel(), {"_etext"}), "_etext", 0)}) {
        const KernelAddresses addresses = addresses_of(names);
        EXPECT_LT(addresses.text_begin, base + 0x1000);
        EXPECT_GT(addresses.text_end, base + 0x1000);
    }
}

TEST(KernelAddresses, MoveAllTogetherAndWhatIsNotThereStaysSo) {
    constexpr std::uint64_t offset = 0x1c20'0000;
    const KernelAddresses addresses = addresses_of(without(kernel(), {"memdup_user"}));
    const KernelAddresses moved = addresses.moved(offset);
    EXPECT_EQ(moved.functions.duplicate_memory, 0U);
    const auto& before = addresses.functions;
    const auto& after = moved.functions;
    for (const auto& member :
         {&Functions::return_trampoline, &Functions::copy, &Functions::get_file, &Functions::put_file,
          &Functions::file_path, &Functions::duplicate_text, &Functions::free, &Functions::process_id})
        EXPECT_EQ(after.*member, before.*member + offset);
    for (const auto& member : {&KernelAddresses::text_begin, &KernelAddresses::text_end,
                               &KernelAddresses::banner, &KernelAddresses::modules, &KernelAddresses::start})
        EXPECT_EQ(moved.*member, addresses.*member + offset);
    EXPECT_EQ(moved.load_module, Addresses{base + 0x3000 + offset});
    EXPECT_EQ(moved.restarts, (Addresses{base + 0x1900 + offset, base + 0x1a00 + offset}));
    ASSERT_EQ(moved.calls.size(), addresses.calls.size());
    for (std::size_t i = 0; i < moved.calls.size(); ++i)
        EXPECT_EQ(moved.calls[i].address, addresses.calls[i].address + offset);
    EXPECT_EQ(moved.moved(0 - offset).calls[0].address, addresses.calls[0].address);
}

} // namespace
} // namespace kmodguard::guest
