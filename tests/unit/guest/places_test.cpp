// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows which names of a kernel are taken for the places that matter, on each architecture and in kernels of
// each age, and which kernels cannot be held.
#include "enforce/guest/places.hpp"

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

Places places_of(const Names& names, const Architecture& architecture = amd64(),
                 Interception interception = Interception::automatic) {
    const auto places = find_places(symbols_of(names), architecture, interception);
    EXPECT_TRUE(places) << (places ? "" : places.error().what);
    return places.value_or(Places{});
}

void expect_refused(const Names& names, std::string_view what,
                    Interception interception = Interception::automatic) {
    const auto places = find_places(symbols_of(names), amd64(), interception);
    ASSERT_FALSE(places);
    EXPECT_EQ(places.error().kind, sys::ErrorKind::invalid);
    EXPECT_TRUE(places.error().what.contains(what)) << places.error().what;
    EXPECT_FALSE(places.error().hint.empty());
}

/// "init_module 2100 saved" for each, in their order.
std::vector<std::string> calls_of(const Places& places) {
    std::vector<std::string> all;
    for (const SystemCall& call : places.calls)
        all.push_back(
            fmt::format("{} {:x} {}", to_string(call.call), call.address - base, call.convention.prefix));
    return all;
}

TEST(Places, OfAKernelAreFoundByName) {
    const Places places = places_of(kernel());
    EXPECT_EQ(calls_of(places),
              (std::vector<std::string>{"init_module 2100 __x64_sys_", "finit_module 2200 __x64_sys_",
                                        "delete_module 2300 __x64_sys_"}));
    EXPECT_EQ(places.load_module, Addresses{base + 0x3000});
    EXPECT_EQ(places.text_begin, base);
    EXPECT_EQ(places.text_end, base + 0x90'0000);
    EXPECT_EQ(places.banner, base + 0x91'0000);
    EXPECT_EQ(places.modules, base + 0x1b00);
    EXPECT_EQ(places.start, base + 0x1800);
    EXPECT_EQ(places.restarts, (Addresses{base + 0x1900, base + 0x1a00}));
    EXPECT_FALSE(places.fixed);
    const Functions& functions = places.functions;
    EXPECT_EQ((Addresses{functions.landing, functions.copy, functions.get_file, functions.put_file,
                         functions.file_path, functions.duplicate_text, functions.duplicate_memory,
                         functions.free, functions.process_id}),
              (Addresses{base + 0x1000, base + 0x1100, base + 0x1200, base + 0x1300, base + 0x1400,
                         base + 0x1500, base + 0x1600, base + 0x1700, base + 0x2000}));
}

TEST(Places, OfEveryArchitectureAreFoundByEachOfItsNames) {
    for (const Architecture& row : architectures())
        for (const CallConvention& convention : row.system_calls) {
            const Places places = places_of(kernel(std::string(convention.prefix)), row);
            ASSERT_EQ(places.calls.size(), 3U) << row.name << " " << convention.prefix;
            for (const SystemCall& call : places.calls) {
                EXPECT_EQ(call.convention.prefix, convention.prefix) << row.name;
                EXPECT_EQ(call.convention.offsets, convention.offsets) << row.name;
                EXPECT_EQ(call.convention.kind, convention.kind) << row.name;
            }
            EXPECT_EQ(places.functions.process_id, base + 0x2000) << row.name;
        }
}

TEST(Places, OfA64BitKernelAreThoseOf32BitProgramsToo) {
    auto names = kernel();
    for (const auto& [name, offset] :
         Names{{"init_module", 0x4100}, {"finit_module", 0x4200}, {"delete_module", 0x4300}})
        names.emplace_back("__ia32_sys_" + name, offset);
    EXPECT_EQ(calls_of(places_of(names)),
              (std::vector<std::string>{"init_module 2100 __x64_sys_", "init_module 4100 __ia32_sys_",
                                        "finit_module 2200 __x64_sys_", "finit_module 4200 __ia32_sys_",
                                        "delete_module 2300 __x64_sys_", "delete_module 4300 __ia32_sys_"}));
}

TEST(Places, OneFunctionOfTwoNamesIsOnePlace) {
    auto names = kernel();
    names.emplace_back("__ia32_sys_init_module", 0x2100);
    EXPECT_EQ(places_of(names).calls.size(), 3U);
}

TEST(Places, OfPowerpcAreBehindWhatSetsUpTheTableOfContents) {
    const Architecture& row = *find_architecture("ppc64el");
    const Places places = places_of(kernel("sys_"), row);
    EXPECT_EQ(calls_of(places), (std::vector<std::string>{"init_module 2108 sys_", "finit_module 2208 sys_",
                                                          "delete_module 2308 sys_"}));
    EXPECT_EQ(places.load_module, Addresses{base + 0x3008});
    EXPECT_EQ(places.start, base + 0x1808);
    EXPECT_EQ(places.restarts, (Addresses{base + 0x1908, base + 0x1a08}));
    EXPECT_EQ(places.functions.get_file, base + 0x1200) << "calls come in at the beginning";
    EXPECT_EQ(places.functions.landing, base + 0x1000);
    EXPECT_EQ(places.text_begin, base);
    EXPECT_EQ(places.banner, base + 0x91'0000);
    EXPECT_EQ(places_of(without(kernel("sys_"), {"start_kernel"}), row).start, 0U) << "none is not at 8";
}

TEST(Places, OfAKernelBefore38AreTheSystemCalls) {
    const auto names = without(kernel("sys_"), {"finit_module"});
    const Places places = places_of(names);
    EXPECT_TRUE(places.load_module.empty()) << "its load_module() has no copy yet";
    EXPECT_EQ(calls_of(places),
              (std::vector<std::string>{"init_module 2100 sys_", "delete_module 2300 sys_"}));
    EXPECT_EQ(places_of(names, amd64(), Interception::load_module).load_module, Addresses{base + 0x3000})
        << "unless somebody knows better";
}

TEST(Places, CanBeTheSystemCallsOfAnyKernel) {
    EXPECT_TRUE(places_of(kernel(), amd64(), Interception::system_call).load_module.empty());
    EXPECT_TRUE(places_of(without(kernel(), {"load_module"})).load_module.empty())
        << "and are, where there is no name for load_module()";
}

TEST(Places, EveryEntryOfLoadModuleIsOneButNotItsPieces) {
    auto names = without(kernel(), {"load_module"});
    for (const auto& [name, offset] : Names{{"load_module.isra.0", 0x3100},
                                            {"load_module.constprop.0", 0x3200},
                                            {"load_module.isra.0.cold", 0x3300},
                                            {"load_module.cold", 0x3400},
                                            {"load_module_data", 0x3600}})
        names.emplace_back(name, offset);
    auto found = places_of(names).load_module;
    std::ranges::sort(found);
    EXPECT_EQ(found, (Addresses{base + 0x3100, base + 0x3200}));
    names.emplace_back("load_module.part.0", 0x3500); // its callers may have the rest of it in them
    EXPECT_TRUE(places_of(names).load_module.empty());
}

TEST(Places, OfAnAmbiguousNameAreNone) {
    auto names = kernel();
    for (const char* name :
         {"kfree", "modules", "linux_banner", "start_kernel", "machine_restart", "__x64_sys_getpid"})
        names.emplace_back(name, 0x5000);
    const Places places = places_of(names);
    EXPECT_EQ(places.functions.free, 0U);
    EXPECT_EQ(places.modules, 0U);
    EXPECT_EQ(places.banner, 0U);
    EXPECT_EQ(places.start, 0U);
    EXPECT_EQ(places.restarts, Addresses{base + 0x1a00});
    EXPECT_EQ(places.functions.process_id, 0U);
    expect_refused(with(kernel(), "panic", 0x5000), "panic");
}

TEST(Places, OfAKernelWithoutModulesAreAnError) {
    expect_refused(without(kernel(), {"init_module", "finit_module"}),
                   "no system call that loads modules, on amd64");
    expect_refused(kernel("__arm64_sys_"), "System.map");
}

TEST(Places, OfAKernelWithoutPanicAreAnError) {
    expect_refused(without(kernel(), {"panic"}), "panic()");
}

TEST(Places, AtLoadModuleAreAnErrorWhereNothingIsCalledSo) {
    expect_refused(without(kernel(), {"load_module"}), "load_module()", Interception::load_module);
    expect_refused(with(without(kernel(), {"load_module"}), "load_module.cold", 0x3400), "load_module()",
                   Interception::load_module);
}

TEST(Places, OnlyTheUsefulAreMissingWhereANameIs) {
    const Places places =
        places_of(without(kernel(), {"fget", "file_path", "getpid", "linux_banner", "modules",
                                     "machine_restart", "machine_emergency_restart"}));
    EXPECT_EQ(places.functions.get_file, 0U);
    EXPECT_EQ(places.functions.file_path, 0U);
    EXPECT_EQ(places.functions.process_id, 0U);
    EXPECT_EQ(places.banner, 0U);
    EXPECT_TRUE(places.restarts.empty());
    EXPECT_EQ(places.calls.size(), 3U);
}

TEST(Places, BannerOfTheSymbolsThemselvesWillDo) {
    auto symbols = symbols_of(without(kernel(), {"linux_banner"}));
    symbols.set_banner({.text = "Linux version 6.1", .address = base + 0x92'0000});
    EXPECT_EQ(find_places(symbols, amd64())->banner, base + 0x92'0000);
    symbols.set_banner({.text = "Linux version 6.1", .address = std::nullopt});
    EXPECT_EQ(find_places(symbols, amd64())->banner, 0U);
}

TEST(Places, CodeIsAroundPanicWhereItsEndsAreNotKnown) {
    for (const auto& names : {without(kernel(), {"_stext"}), without(kernel(), {"_etext"}),
                              with(without(kernel(), {"_etext"}), "_etext", 0)}) {
        const Places places = places_of(names);
        EXPECT_LT(places.text_begin, base + 0x1000);
        EXPECT_GT(places.text_end, base + 0x1000);
    }
}

TEST(Places, MoveAllTogetherAndWhatIsNotThereStaysSo) {
    constexpr std::uint64_t distance = 0x1c20'0000;
    const Places places = places_of(without(kernel(), {"memdup_user"}));
    const Places moved = places.moved(distance);
    EXPECT_EQ(moved.functions.duplicate_memory, 0U);
    const auto& before = places.functions;
    const auto& after = moved.functions;
    for (const auto& member :
         {&Functions::landing, &Functions::copy, &Functions::get_file, &Functions::put_file,
          &Functions::file_path, &Functions::duplicate_text, &Functions::free, &Functions::process_id})
        EXPECT_EQ(after.*member, before.*member + distance);
    for (const auto& member :
         {&Places::text_begin, &Places::text_end, &Places::banner, &Places::modules, &Places::start})
        EXPECT_EQ(moved.*member, places.*member + distance);
    EXPECT_EQ(moved.load_module, Addresses{base + 0x3000 + distance});
    EXPECT_EQ(moved.restarts, (Addresses{base + 0x1900 + distance, base + 0x1a00 + distance}));
    ASSERT_EQ(moved.calls.size(), places.calls.size());
    for (std::size_t i = 0; i < moved.calls.size(); ++i)
        EXPECT_EQ(moved.calls[i].address, places.calls[i].address + distance);
    EXPECT_EQ(moved.moved(0 - distance).calls[0].address, places.calls[0].address);
}

} // namespace
} // namespace kmodguard::guest
