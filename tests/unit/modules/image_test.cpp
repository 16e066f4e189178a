// SPDX-License-Identifier: AGPL-3.0-only
//
// The identity of images that are as they should be, and of those that say two things (bypasses 1 to 3).
#include "modules/elf_builder.hpp"
#include "modules/image.hpp"
#include "modules/kernel_image_model.hpp"

#include <gtest/gtest.h>

namespace kmodguard::modules {
namespace {

using test::build;
using test::module_spec;

struct Kind {
    bool is_64_bit;
    std::endian order;
};

std::string name_of_kind(const testing::TestParamInfo<Kind>& kind) {
    return std::string(kind.param.is_64_bit ? "Elf64" : "Elf32")
           + (kind.param.order == std::endian::little ? "Little" : "Big");
}

class ImageOfEveryKind : public testing::TestWithParam<Kind> {};

TEST_P(ImageOfEveryKind, GivesBothNamesAndItsFormat) {
    const auto spec = module_spec("e1000e", GetParam().is_64_bit, GetParam().order);
    const auto identity = identify_image(build(spec));
    EXPECT_EQ(identity.facts.problem, "");
    EXPECT_EQ(identity.facts.name, "e1000e");
    EXPECT_EQ(identity.facts.modinfo_name, "e1000e");
    EXPECT_EQ(identity.format, (ElfFormat{GetParam().is_64_bit, GetParam().order, spec.machine}));
}

/// No module is what no kernel reads as one, and not what cannot be judged.
TEST_P(ImageOfEveryKind, IsNoModuleWithoutItsBeginning) {
    const auto image = build(module_spec("e1000e", GetParam().is_64_bit, GetParam().order));
    EXPECT_FALSE(identify_image(image).facts.no_module);
    for (const std::size_t length : {0UZ, 3UZ, 4UZ, 15UZ, 16UZ, 51UZ}) {
        const auto facts = identify_image(std::span(image).first(length)).facts;
        EXPECT_TRUE(facts.no_module) << length;
        EXPECT_FALSE(facts.problem.empty()) << length;
    }
    for (const std::size_t length : {52UZ, 64UZ, image.size() / 2, image.size() - 1})
        EXPECT_FALSE(identify_image(std::span(image).first(length)).facts.no_module) << length;
    for (std::size_t byte = 0; byte < 4; ++byte) {
        auto other = image;
        other[byte] ^= std::byte{1};
        EXPECT_TRUE(identify_image(other).facts.no_module) << byte;
        EXPECT_TRUE(test::kernel_readings(other).empty()) << byte;
    }
}

TEST_P(ImageOfEveryKind, IsReadAsTheKernelReadsIt) {
    const auto readings =
        test::kernel_readings(build(module_spec("e1000e", GetParam().is_64_bit, GetParam().order)));
    ASSERT_EQ(readings.size(), 2U) << "one old and one new kernel, both of one class and byte order";
    for (const auto& reading : readings) {
        EXPECT_EQ(reading.name, "e1000e");
        EXPECT_EQ(reading.modinfo_name, "e1000e");
    }
}

TEST_P(ImageOfEveryKind, RelocationOfTheNameIsRefused) {
    const auto [is_64_bit, order] = GetParam();
    auto spec = module_spec("dummy", is_64_bit, order);
    const auto entry = [&](std::uint64_t place) {
        std::string bytes(is_64_bit ? 24 : 12, '\0');
        const std::size_t width = is_64_bit ? 8 : 4;
        for (std::size_t i = 0; i < width; ++i) {
            const std::size_t at = order == std::endian::little ? i : width - 1 - i;
            bytes[at] = static_cast<char>(place >> (8 * i) & 0xFF);
        }
        return bytes;
    };
    spec.sections.push_back({.name = ".rela.gnu.linkonce.this_module",
                             .content = entry(is_64_bit ? 312 : 200) + entry(is_64_bit ? 800 : 300),
                             .type = SHT_RELA,
                             .flags = 0,
                             .info = 3});
    EXPECT_EQ(identify_image(build(spec)).facts.problem, "") << "init and exit are relocated in every module";
    spec.sections.back().content = entry(is_64_bit ? 312 : 200) + entry(is_64_bit ? 32 : 20);
    EXPECT_EQ(identify_image(build(spec)).facts.problem, "a relocation rewrites the name in struct module");
    spec.sections.back().info = 1;
    EXPECT_EQ(identify_image(build(spec)).facts.problem, "") << "of another section";
}

INSTANTIATE_TEST_SUITE_P(All, ImageOfEveryKind,
                         testing::Values(Kind{true, std::endian::little}, Kind{true, std::endian::big},
                                         Kind{false, std::endian::little}, Kind{false, std::endian::big}),
                         name_of_kind);

TEST(Image, IsNamedByWhatTheKernelRegisters) { // bypass 1: whatever its file is called
    EXPECT_EQ(identify_image(build(module_spec("evil"))).facts.name, "evil");
}

TEST(Image, ReportsBothNamesWhenTheyDiffer) { // bypass 2
    auto spec = module_spec("evil");
    spec.section(".modinfo").content = test::modinfo({"name=allowed"});
    const auto facts = identify_image(build(spec)).facts;
    EXPECT_EQ(facts.problem, "");
    EXPECT_EQ(facts.name, "evil");
    EXPECT_EQ(facts.modinfo_name, "allowed");
}

TEST(Image, KeepsToTheBoundariesOfModinfoRecords) { // bypass 3
    auto spec = module_spec("evil");
    spec.section(".modinfo").content = test::modinfo({"parm=xname=allowed", "rename=allowed", "name=evil"});
    EXPECT_EQ(identify_image(build(spec)).facts.modinfo_name, "evil");
    spec.section(".modinfo").content = test::modinfo({"parm=xname=allowed", "names=allowed", "name"});
    EXPECT_EQ(identify_image(build(spec)).facts.modinfo_name, "");
}

TEST(Image, AcceptsPaddingBetweenModinfoRecords) {
    auto spec = module_spec("loop");
    spec.section(".modinfo").content = test::modinfo({"", "", "license=GPL", "", "", "name=loop", "", ""});
    EXPECT_EQ(identify_image(build(spec)).facts.modinfo_name, "loop");
}

TEST(Image, NeedsNoModinfo) {
    auto spec = module_spec("loop");
    spec.sections.erase(spec.sections.begin() + 1);
    const auto identity = identify_image(build(spec), {.with_aliases = true});
    EXPECT_EQ(identity.facts.problem, "");
    EXPECT_EQ(identity.facts.name, "loop");
    EXPECT_EQ(identity.facts.modinfo_name, "");
    ASSERT_TRUE(identity.facts.aliases); // it is known that there are none
    EXPECT_TRUE(identity.facts.aliases->empty());
}

TEST(Image, RepeatedModinfoNamesMustBeEqual) {
    auto spec = module_spec("loop");
    spec.section(".modinfo").content = test::modinfo({"name=loop", "name=loop"});
    EXPECT_EQ(identify_image(build(spec)).facts.problem, "");
    spec.section(".modinfo").content = test::modinfo({"name=loop", "name=other"});
    EXPECT_EQ(identify_image(build(spec)).facts.problem, ".modinfo has names that differ");
    spec.section(".modinfo").content = test::modinfo({"name=a", "name=b", "name=a"});
    EXPECT_EQ(identify_image(build(spec)).facts.problem, ".modinfo has names that differ");
    spec.section(".modinfo").content = test::modinfo({"name=loop", "name="});
    EXPECT_EQ(identify_image(build(spec)).facts.problem, ".modinfo has names that differ");
}

TEST(Image, GivesTheAliasesWhereAsked) {
    auto spec = module_spec("loop");
    spec.section(".modinfo").content =
        test::modinfo({"alias=block-major-7-*", "alias=devname:loop-control", "depends=a,b,,c", "name=loop",
                       "vermagic=6.1.0 SMP", "vermagic=second"});
    const auto identity = identify_image(build(spec), {.with_aliases = true});
    EXPECT_EQ(identity.facts.modinfo_name, "loop");
    EXPECT_EQ(identity.facts.aliases, (std::vector<std::string>{"block-major-7-*", "devname:loop-control"}));
    EXPECT_FALSE(identify_image(build(spec)).facts.aliases); // which is not the same as none
}

TEST(Image, TakesTheLongestNamePossible) {
    const std::string longest(55, 'x');
    EXPECT_EQ(identify_image(build(module_spec(longest))).facts.name, longest);
    EXPECT_EQ(identify_image(build(module_spec(longest + 'x'))).facts.problem,
              "the name in struct module is not terminated");
}

TEST(Image, FindsTheNameWhereARandomisedLayoutPutsIt) {
    auto spec = module_spec("loop");
    spec.section(".gnu.linkonce.this_module").content =
        std::string(200, '\0') + "loop" + std::string(300, '\0');
    EXPECT_EQ(identify_image(build(spec)).facts.problem, "no module name where struct module has one");
    EXPECT_EQ(identify_image(build(spec), {.name_offset = 200}).facts.name, "loop");
    EXPECT_EQ(identify_image(build(spec), {.name_offset = 500}).facts.problem,
              "struct module too short for a name");
    EXPECT_EQ(identify_image(build(spec), {.name_offset = UINT32_MAX}).facts.problem,
              "struct module too short for a name");
}

TEST(Image, MayShareTheTailOfASectionName) { // ".rela.modinfo" holds ".modinfo": linkers merge them
    auto spec = module_spec("loop");
    spec.names.content = std::string("\0.text\0.rela.modinfo\0.gnu.linkonce.this_module\0", 47);
    spec.section(".text").name_offset = 1;
    spec.section(".modinfo").name_offset = 12;
    spec.section(".gnu.linkonce.this_module").name_offset = 21;
    spec.names.name_offset = 0;
    const auto facts = identify_image(build(spec)).facts;
    EXPECT_EQ(facts.problem, "");
    EXPECT_EQ(facts.modinfo_name, "loop");
}

TEST(Image, HashesTheWholeOfItWhereAsked) {
    auto image = build(module_spec("loop"));
    const auto first = identify_image(image, {.with_hash = true}).facts.sha256;
    ASSERT_TRUE(first);
    image.push_back(std::byte{'x'}); // where a signature would be
    const auto second = identify_image(image, {.with_hash = true}).facts;
    EXPECT_EQ(second.name, "loop");
    ASSERT_TRUE(second.sha256);
    EXPECT_NE(*first, *second.sha256);
    EXPECT_FALSE(identify_image(image).facts.sha256);
}

TEST(Image, HasAHashEvenIfItCannotBeJudged) {
    const auto facts = identify_image(test::to_bytes("abc"), {.with_hash = true}).facts;
    EXPECT_NE(facts.problem, "");
    ASSERT_TRUE(facts.sha256);
    EXPECT_EQ(core::to_hex(*facts.sha256),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

} // namespace
} // namespace kmodguard::modules
