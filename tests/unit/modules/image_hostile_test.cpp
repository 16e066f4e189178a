// SPDX-License-Identifier: AGPL-3.0-only
//
// Images made to be misread (bypass 12, and the second readings that image_elf.cpp speaks of). Each must be
// refused, by name of its fault, so that no test passes for another reason than its own.
#include "modules/elf_builder.hpp"
#include "modules/image.hpp"
#include "modules/kernel_image_model.hpp"
#include "random.hpp"

#include <gtest/gtest.h>

namespace kmodguard::modules {
namespace {

using test::build;
using test::ElfSpec;
using test::module_spec;

constexpr const char* this_module = ".gnu.linkonce.this_module";

std::string problem_of(const test::Bytes& image) {
    const auto identity =
        identify_image(image, {.with_hash = true, .with_aliases = true, .with_signature = true});
    if (!identity.facts.problem.empty()) {
        EXPECT_EQ(identity.facts.name, "") << "a name that cannot be relied on must not be given";
        EXPECT_EQ(identity.facts.modinfo_name, "");
    }
    return identity.facts.problem;
}

struct Fault {
    const char* what;
    void (*make)(ElfSpec&);
    const char* problem;
};

void PrintTo(const Fault& fault, std::ostream* out) {
    *out << fault.what;
}

class HostileImage : public testing::TestWithParam<Fault> {};

TEST_P(HostileImage, IsRefused) {
    for (const bool is_64_bit : {true, false}) {
        for (const auto order : {std::endian::little, std::endian::big}) {
            auto spec = module_spec("loop", is_64_bit, order);
            ASSERT_EQ(problem_of(build(spec)), "");
            GetParam().make(spec);
            EXPECT_EQ(problem_of(build(spec)), GetParam().problem)
                << (is_64_bit ? "ELF64 " : "ELF32 ") << (order == std::endian::little ? "little" : "big");
        }
    }
}

const Fault header_faults[] = {
    {"executable", [](ElfSpec& s) { s.lies.type = ET_EXEC; },
     "not a relocatable ELF file in its own byte order"},
    {"shared_object", [](ElfSpec& s) { s.lies.type = ET_DYN; },
     "not a relocatable ELF file in its own byte order"},
    {"other_byte_order",
     [](ElfSpec& s) { s.lies.byte_order = s.order == std::endian::little ? ELFDATA2MSB : ELFDATA2LSB; },
     "not a relocatable ELF file in its own byte order"},
    {"no_byte_order", [](ElfSpec& s) { s.lies.byte_order = ELFDATANONE; }, "unknown ELF byte order"},
    {"other_class", [](ElfSpec& s) { s.lies.elf_class = s.is_64_bit ? ELFCLASS32 : ELFCLASS64; },
     "section headers of the wrong size"},
    {"no_class", [](ElfSpec& s) { s.lies.elf_class = 3; }, "unknown ELF class"},
    {"section_header_size", [](ElfSpec& s) { s.lies.section_header_size = 63; },
     "section headers of the wrong size"},
    {"header_size", [](ElfSpec& s) { s.lies.header_size = 0; }, "ELF header of the wrong size"},
    {"program_headers", [](ElfSpec& s) { s.lies.program_headers = 0x40; }, "has program headers"},
    {"sections_at_4_gib",
     [](ElfSpec& s) { s.lies.section_headers = s.is_64_bit ? 0x1'0000'0040U : 0xFFFF'FFC0U; },
     "section headers outside the image"},
    {"sections_at_the_end_of_the_world",
     [](ElfSpec& s) { s.lies.section_headers = s.is_64_bit ? ~std::uint64_t{0} : 0xFFFF'FFFFU; },
     "section headers outside the image"},
    {"section_headers_over_the_elf_header", [](ElfSpec& s) { s.lies.section_headers = 0; },
     "section 0 is not empty"},
    {"count_65535", [](ElfSpec& s) { s.lies.section_count = 0xFFFF; }, "section headers outside the image"},
    {"count_0_as_if_extended", // SHN_XINDEX: the count in sh_size of section 0, which the kernel does not
                               // know
     [](ElfSpec& s) {
         s.lies.section_count = 0;
         s.null.size = 5;
     },
     "no section headers"},
    {"count_1", [](ElfSpec& s) { s.lies.section_count = 1; }, "no section name table"},
    {"name_table_undefined", [](ElfSpec& s) { s.lies.name_table = SHN_UNDEF; }, "no section name table"},
    {"name_table_xindex", [](ElfSpec& s) { s.lies.name_table = SHN_XINDEX; }, "no section name table"},
    {"name_table_one_too_far", [](ElfSpec& s) { s.lies.name_table = 5; }, "no section name table"},
    {"name_table_is_text", [](ElfSpec& s) { s.lies.name_table = 1; }, "section name table is none"},
    {"name_table_empty", [](ElfSpec& s) { s.names.size = 0; }, "section name table is none"},
    {"name_table_open", [](ElfSpec& s) { s.terminate_names = false; }, "section name table not terminated"},
    {"name_table_outside", [](ElfSpec& s) { s.names.size = 1U << 30U; }, "section 4 outside the image"},
    {"section_0_in_use", [](ElfSpec& s) { s.null.type = SHT_PROGBITS; }, "section 0 is not empty"},
    {"section_0_has_a_size", [](ElfSpec& s) { s.null.size = 8; }, "section 0 is not empty"},
    {"section_0_has_an_address", [](ElfSpec& s) { s.null.address = 8; }, "section 0 is not empty"},
};

const Fault section_faults[] = {
    {"no_struct_module", [](ElfSpec& s) { s.sections.pop_back(); },
     "not a kernel module: no .gnu.linkonce.this_module section"},
    {"two_struct_modules", [](ElfSpec& s) { s.sections.push_back(s.section(this_module)); },
     "more than one .gnu.linkonce.this_module section"},
    {"two_struct_modules_one_unloaded", // an old kernel takes the loaded one, a new one refuses
     [](ElfSpec& s) {
         s.sections.insert(s.sections.begin(), s.section(this_module));
         s.sections.front().flags = 0;
     },
     "the .gnu.linkonce.this_module section is not plain loaded data"},
    {"two_struct_modules_one_null", // an old kernel takes the first, a new one the second
     [](ElfSpec& s) {
         s.sections.insert(s.sections.begin(), s.section(this_module));
         s.sections.front().type = SHT_NULL;
     },
     "the .gnu.linkonce.this_module section is not plain loaded data"},
    {"two_modinfos", [](ElfSpec& s) { s.sections.push_back(s.section(".modinfo")); },
     "more than one .modinfo section"},
    {"unloaded_modinfo", [](ElfSpec& s) { s.section(".modinfo").flags = 0; }, // seen by new kernels only
     "the .modinfo section is not plain loaded data"},
    {"unloaded_struct_module", [](ElfSpec& s) { s.section(this_module).flags = SHF_WRITE; },
     "the .gnu.linkonce.this_module section is not plain loaded data"},
    {"nobits_struct_module", [](ElfSpec& s) { s.section(this_module).type = SHT_NOBITS; },
     "the .gnu.linkonce.this_module section is not plain loaded data"},
    {"struct_module_as_relocations", [](ElfSpec& s) { s.section(this_module).type = SHT_RELA; },
     "the .gnu.linkonce.this_module section is not plain loaded data"},
    {"compressed_struct_module", [](ElfSpec& s) { s.section(this_module).flags |= SHF_COMPRESSED; },
     "the .gnu.linkonce.this_module section is not plain loaded data"},
    {"compressed_modinfo", [](ElfSpec& s) { s.section(".modinfo").flags |= SHF_COMPRESSED; },
     "the .modinfo section is not plain loaded data"},
    {"section_outside", [](ElfSpec& s) { s.section(".text").offset = 1U << 30U; },
     "section 1 outside the image"},
    {"section_size_overflows",
     [](ElfSpec& s) { s.section(".text").size = s.is_64_bit ? ~std::uint64_t{0} - 63 : 0xFFFF'FFC0U; },
     "section 1 outside the image"},
    {"section_name_outside_the_table", [](ElfSpec& s) { s.section(".text").name_offset = 4096; },
     "section 1 has no name"},
    {"section_name_at_4_gib", [](ElfSpec& s) { s.section(".text").name_offset = 0xFFFF'FFFFU; },
     "section 1 has no name"},
    {"struct_module_too_short", [](ElfSpec& s) { s.section(this_module).size = 64; },
     "struct module too short for a name"},
    {"struct_module_empty", [](ElfSpec& s) { s.section(this_module).size = 0; },
     "the .gnu.linkonce.this_module section is empty"},
    {"struct_module_over_the_elf_header", [](ElfSpec& s) { s.section(this_module).offset = 8; },
     "sections overlap"},
    {"struct_module_over_modinfo",
     [](ElfSpec& s) { s.section(".modinfo").size = s.section(".modinfo").content.size() + 64; },
     "sections overlap"},
    {"modinfo_empty", // the kernel reads its first record all the same
     [](ElfSpec& s) { s.section(".modinfo").size = 0; }, "the .modinfo section is empty"},
    {"modinfo_open", [](ElfSpec& s) { s.section(".modinfo").content = "name=loop"; },
     ".modinfo is not terminated"},
    {"name_open", [](ElfSpec& s) { s.section(this_module).content = std::string(896, 'x'); },
     "the name in struct module is not terminated"},
    {"name_empty", [](ElfSpec& s) { s.section(this_module).content = test::struct_module(s.is_64_bit, ""); },
     "no module name where struct module has one"},
    {"name_with_a_slash",
     [](ElfSpec& s) { s.section(this_module).content = test::struct_module(s.is_64_bit, "a/b"); },
     "no module name where struct module has one"},
    {"name_with_a_tail",
     [](ElfSpec& s) {
         s.section(this_module).content = test::struct_module(s.is_64_bit, std::string("loop\0evil", 9));
     },
     "no module name where struct module has one"},
};

std::string name_of_fault(const testing::TestParamInfo<Fault>& info) {
    return info.param.what;
}
INSTANTIATE_TEST_SUITE_P(Header, HostileImage, testing::ValuesIn(header_faults), name_of_fault);
INSTANTIATE_TEST_SUITE_P(Section, HostileImage, testing::ValuesIn(section_faults), name_of_fault);

TEST(HostileImage, SharesNoByteWithTheSectionHeaders) { // the kernel writes addresses into them
    auto spec = module_spec("loop");
    const auto size = build(spec).size();
    spec.section(this_module).offset = size - 896;
    EXPECT_EQ(problem_of(build(spec)), "sections overlap");
}

/// A big-endian image with two section tables: a 64-bit kernel reads "allowed", a 32-bit kernel "evil".
test::Bytes two_faced_image() {
    auto narrow = module_spec("evil", false, std::endian::big);
    const auto small = build(narrow);
    auto wide = module_spec("allowed", true, std::endian::big);
    auto& text = wide.section(".text").content;
    text.assign(reinterpret_cast<const char*>(small.data()) + 64, small.size() - 64); // at offset 64 of both
    text.resize((text.size() + 7) & ~std::size_t{7});
    const auto table_of = [](const test::Bytes& image, std::size_t headers) {
        return image.size() - headers;
    };
    text.resize(text.size() + 0x10028
                - table_of(build(wide), std::size_t{5} * 64)); // low half: e_shentsize == 40
    auto image = build(wide);
    std::copy_n(small.begin() + 32, 4, image.begin() + 32); // e_shoff; high half of e_phoff
    std::copy_n(small.begin() + 48, 4, image.begin() + 48); // e_shnum and e_shstrndx; e_flags
    return image;
}

TEST(HostileImage, HasOneSectionTableOnly) {
    auto image = two_faced_image();
    std::vector<std::string> names;
    for (const auto& reading : test::kernel_readings(image))
        names.push_back(reading.name);
    ASSERT_EQ(names, (std::vector<std::string>{"evil", "evil", "allowed", "allowed"}))
        << "or the test tests nothing";
    EXPECT_EQ(problem_of(image), "has program headers");
    image[EI_CLASS] = std::byte{ELFCLASS32};
    EXPECT_EQ(problem_of(image), "ELF header of the wrong size");
}

TEST(HostileImage, MayBeCutOffAnywhere) {
    auto image = build(module_spec("loop"));
    for (std::size_t size = 0; size < image.size(); ++size) {
        const auto identity = identify_image(std::span(image).first(size));
        EXPECT_NE(identity.facts.problem, "") << size << " bytes";
        EXPECT_EQ(identity.facts.name, "") << size << " bytes";
    }
}

TEST(HostileImage, MayHave65535Sections) {
    auto spec = module_spec("loop");
    spec.sections.resize(65533, {.name = "", .content = "", .type = SHT_PROGBITS, .flags = 0});
    EXPECT_EQ(identify_image(build(spec)).facts.name, "loop");
    std::swap(spec.sections[1], spec.sections.back());
    std::swap(spec.sections[2], spec.sections[60000]);
    const auto facts = identify_image(build(spec)).facts;
    EXPECT_EQ(facts.problem, "");
    EXPECT_EQ(facts.modinfo_name, "loop");
}

TEST(HostileImage, MayBeNoElfAtAll) {
    EXPECT_EQ(problem_of({}), "not an ELF file: too short");
    EXPECT_EQ(problem_of(test::to_bytes("#!/bin/sh\necho this is no module\n")), "not an ELF file");
    EXPECT_EQ(problem_of(test::to_bytes("\x7f"
                                        "ELF\x02\x01 and not much more")),
              "ends in the ELF header");
}

/// Valid images, changed in one to four places with a fixed seed. What is let pass must be what every kernel
/// that accepts it reads.
TEST(HostileImage, ChangedAtRandomIsNeverReadDifferentlyFromTheKernel) {
    test::Random random(20261121, 40'000);
    std::size_t passed = 0;
    while (random.next_round()) {
        const int round = random.round();
        auto spec =
            module_spec("loop", (round & 1) != 0, (round & 2) != 0 ? std::endian::little : std::endian::big);
        spec.sections.push_back(spec.section(round % 3 == 0 ? this_module : ".modinfo"));
        spec.sections.back().name = ".extra";
        auto image = build(spec);
        for (auto changes = 1 + random.below(4); changes > 0; --changes) {
            const bool in_headers = random.flip();
            const std::size_t headers = image.size() - 6 * (spec.is_64_bit ? 64U : 40U);
            const std::size_t at =
                in_headers ? headers + random.below(image.size() - headers) : random.below(image.size());
            image[at] = static_cast<std::byte>(random.once_in(4) ? random.below(256) : random.below(8));
        }
        const auto facts = identify_image(image).facts;
        if (!facts.problem.empty()) continue;
        ++passed;
        for (const auto& reading : test::kernel_readings(image)) {
            ASSERT_EQ(reading.name, facts.name);
            ASSERT_EQ(reading.modinfo_name.value_or(""), facts.modinfo_name);
        }
    }
    if (random.is_cut_short()) return;
    EXPECT_GT(passed, random.scaled(1000)) << "or the test tests nothing";
}

} // namespace
} // namespace kmodguard::modules
