// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows which memory a machine has by the listings that QEMU 7.2 prints (`info mtree -f` of -S -nodefaults;
// of the devices only some are left here), and that a listing of lies costs nothing.
#include "enforce/guest/find_kernel.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace kmodguard::guest {
namespace {

using Ranges = std::vector<MemoryRange>;

constexpr std::uint64_t mib = 1U << 20U;

// -M pc -m 5120
constexpr std::string_view pc =
    "FlatView #0\r\n"
    " AS \"cpu-smm-0\", root: memory\r\n"
    " Root memory region: memory\r\n"
    "  0000000000000000-00000000000bffff (prio 0, ram): pc.ram\r\n"
    "  0000000000200000-00000000bfffffff (prio 0, ram): pc.ram @0000000000200000\r\n"
    "\r\n"
    "FlatView #1\r\n"
    " AS \"I/O\", root: io\r\n"
    " Root memory region: io\r\n"
    "  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\r\n"
    "\r\n"
    "FlatView #2\r\n"
    " AS \"memory\", root: system\r\n"
    " AS \"cpu-memory-0\", root: system\r\n"
    " Root memory region: system\r\n"
    "  0000000000000000-00000000000bffff (prio 0, ram): pc.ram\r\n"
    "  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom\r\n"
    "  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000\r\n"
    "  0000000000100000-{:016x} (prio 0, ram): pc.ram @0000000000100000\r\n"
    "  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\r\n"
    "  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios\r\n"
    "  0000000100000000-000000017fffffff (prio 0, ram): pc.ram @00000000c0000000\r\n"
    "\r\n"
    "FlatView #3\r\n"
    " AS \"i440FX\", root: bus master container\r\n"
    " Root memory region: (none)\r\n"
    "  No rendered FlatView\r\n"
    "\r\n";

std::string pc_with_memory_to(std::uint64_t last) {
    return fmt::format(fmt::runtime(pc), last);
}

// -M virt -m 256
constexpr std::string_view aarch64_virt =
    "FlatView #0\r\n"
    " AS \"gpex-root\", root: bus master container\r\n"
    " Root memory region: (none)\r\n"
    "  No rendered FlatView\r\n"
    "\r\n"
    "FlatView #2\r\n"
    " AS \"memory\", root: system\r\n"
    " AS \"cpu-memory-0\", root: system\r\n"
    " Root memory region: system\r\n"
    "  0000000000000000-0000000003ffffff (prio 0, romd): virt.flash0\r\n"
    "  0000000004000000-0000000007ffffff (prio 0, romd): virt.flash1\r\n"
    "  0000000008000000-0000000008000fff (prio 0, i/o): gic_dist\r\n"
    "  0000000040000000-000000004fffffff (prio 0, ram): mach-virt.ram\r\n"
    "\r\n";

// -M malta -m 256: the same memory where a 32-bit kernel sees it, and again at 2 GiB
constexpr std::string_view mipsel_malta =
    "FlatView #0\r\n"
    " AS \"I/O\", root: io\r\n"
    "  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\r\n"
    "\r\n"
    "FlatView #2\r\n"
    " AS \"memory\", root: system\r\n"
    " AS \"cpu-memory-0\", root: system\r\n"
    " Root memory region: system\r\n"
    "  0000000000000000-000000000fffffff (prio 0, ram): mips_malta.ram\r\n"
    "  000000001be00000-000000001be00fff (prio 0, i/o): isd-mem\r\n"
    "  000000001fc00000-000000001fffffff (prio 0, rom): bios.1fc\r\n"
    "  0000000080000000-000000008fffffff (prio 0, ram): mips_malta.ram\r\n"
    "\r\n";

// -M pseries -m 256
constexpr std::string_view ppc64_pseries =
    "FlatView #0\r\n"
    " AS \"memory\", root: system\r\n"
    " AS \"cpu-memory-0\", root: system\r\n"
    " Root memory region: system\r\n"
    "  0000000000000000-000000000fffffff (prio 0, ram): ppc_spapr.ram\r\n"
    "  0006010000000000-000601003fffffff (prio 0, i/o): xive.esb-emulated\r\n"
    "\r\n"
    "FlatView #1\r\n"
    " AS \"pci@800000020000000\", root: pci@800000020000000.iommu-root\r\n"
    "  0000000000000000-000000003fffffff (prio 0, i/o): tce-iommu-80000000\r\n"
    "\r\n";

/// What is listed as the machine's memory.
std::string memory(const std::string& lines) {
    return "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n" + lines + "\n";
}

TEST(MemoryRanges, AreThoseOfThePcFromOneMebibyteOn) {
    EXPECT_EQ(memory_ranges(pc_with_memory_to(0x0fff'ffff)),
              (Ranges{{.begin = mib, .size = 255 * mib}, {.begin = 4096 * mib, .size = 257 * mib}}));
}

TEST(MemoryRanges, AreTheFirst512MebibytesOfALargeMachine) {
    EXPECT_EQ(memory_ranges(pc_with_memory_to(0xbfff'ffff)), (Ranges{{.begin = mib, .size = max_memory}}));
}

TEST(MemoryRanges, OfOtherMachinesAreWhereTheyHaveThem) {
    EXPECT_EQ(memory_ranges(aarch64_virt), (Ranges{{.begin = 0x4000'0000, .size = 256 * mib}}));
    EXPECT_EQ(memory_ranges(ppc64_pseries), (Ranges{{.begin = 0, .size = 256 * mib}}));
}

TEST(MemoryRanges, MemoryThatIsSeenAtTwoPlacesIsOne) {
    EXPECT_EQ(memory_ranges(mipsel_malta), (Ranges{{.begin = 0, .size = 256 * mib}}));
}

TEST(MemoryRanges, AreTheSameWithPlainLineEndsAndWithoutALastOne) {
    std::string plain(aarch64_virt);
    std::erase(plain, '\r');
    EXPECT_EQ(memory_ranges(plain), memory_ranges(aarch64_virt));
    while (plain.ends_with('\n'))
        plain.pop_back();
    EXPECT_EQ(memory_ranges(plain), memory_ranges(aarch64_virt));
}

TEST(MemoryRanges, OfWhatIsNoListingAreNone) {
    for (const char* text : {"", "\n", "\r\n\r\n", "unknown command: 'info mtree -f'\r\n", "FlatView #0\n",
                             "  0000000040000000-000000004fffffff (prio 0, ram): outside of any view\n"})
        EXPECT_EQ(memory_ranges(text), Ranges{}) << text;
}

TEST(MemoryRanges, OfDevicesOnlyAreNone) {
    std::string listing(aarch64_virt);
    listing.replace(listing.find("\"memory\""), 8, "\"gpu-os\"");
    EXPECT_EQ(memory_ranges(listing), Ranges{});
}

TEST(MemoryRanges, LinesThatAreNoRangeOfMemoryArePassedOver) {
    const std::string good = "  0000000040000000-000000004fffffff (prio 0, ram): good\n";
    for (const char* bad : {
             "  0000000080000000-000000007fffffff (prio 0, ram): backwards",
             "  0000000080000000-0000000080000000 (prio 0, ram): tiny",
             "  0000000000000000-ffffffffffffffff (prio 0, ram): everything",
             "  000000008000000-000000008fffffff (prio 0, ram): a digit too few",
             "  000000008000000x-000000008fffffff (prio 0, ram): no number",
             "  -000000080000000-000000008fffffff (prio 0, ram): negative",
             "  0000000080000000 000000008fffffff (prio 0, ram): no dash",
             "  0000000080000000-00000000, ram): short",
             "  0000000080000000-000000008fffffff (prio 0, rom): no ram",
             ", ram): ",
             "  ",
             "\xff\xfe\x01",
         }) {
        EXPECT_EQ(memory_ranges(memory(std::string(bad) + "\n" + good)),
                  (Ranges{{.begin = 0x4000'0000, .size = 256 * mib}}))
            << bad;
    }
}

TEST(MemoryRanges, AreNeverMoreThanIsLookedAt) {
    std::string lines;
    for (std::uint64_t i = 0; i < 5000; ++i)
        lines += fmt::format("  {:016x}-{:016x} (prio 0, ram): ram{}\n", i << 32U, (i << 32U) + mib - 1, i);
    std::uint64_t all = 0;
    const auto ranges = memory_ranges(memory(lines));
    for (const MemoryRange& range : ranges)
        all += range.size;
    EXPECT_EQ(all, max_memory);
    EXPECT_EQ(ranges.size(), max_memory / mib);
    const auto huge = memory_ranges(memory("  0000000000000000-fffffffffffffffe (prio 0, ram): huge\n"));
    EXPECT_EQ(huge, (Ranges{{.begin = 0, .size = max_memory}}));
}

} // namespace
} // namespace kmodguard::guest
