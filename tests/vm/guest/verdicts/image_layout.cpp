// SPDX-License-Identifier: AGPL-3.0-only
//
// Changes of where things are: the ELF header and the sections.
#include "verdicts/image.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace kmodguard::verdicts {
namespace {

using test::ElfSpec;
using test::Section;

constexpr std::string_view this_module = ".gnu.linkonce.this_module";
constexpr std::array<std::uint32_t, 9> types = {SHT_PROGBITS, SHT_PROGBITS, SHT_NULL, SHT_NOBITS, SHT_STRTAB,
                                                SHT_NOTE,     SHT_REL,      SHT_RELA, 0x7fffffff};
constexpr std::array<std::uint64_t, 5> flags = {0, SHF_ALLOC | SHF_WRITE, SHF_ALLOC | SHF_COMPRESSED,
                                                SHF_STRINGS, ~std::uint64_t{0}};

Section& any(ElfSpec& spec, Random& random) {
    return spec.sections[random.below(spec.sections.size())];
}

/// The index that sections are told apart by; 0 if there is none.
std::uint32_t index_of(const ElfSpec& spec, std::string_view name) {
    for (std::size_t i = 0; i < spec.sections.size(); ++i)
        if (spec.sections[i].name == name) return static_cast<std::uint32_t>(i + 1);
    return 0;
}

/// The table of names that these sections would have.
std::string names_of(const ElfSpec& spec) {
    std::string names(1, '\0');
    for (const Section& section : spec.sections)
        names += section.name + '\0';
    return names + spec.names.name + '\0';
}

/// A number near one that matters.
std::uint64_t odd_number(Random& random) {
    static constexpr std::array<std::uint64_t, 6> near = {
        0, 64, 1200, 1U << 16U, std::uint64_t{1} << 32U, ~std::uint64_t{0}};
    return random.choose(near) + random.below(random.one_in(2) ? 9 : 1600) - 4;
}

void twice(ElfSpec& spec, Random& random) {
    Section copy = any(spec, random);
    if (random.one_in(2)) copy.type = random.choose(types);
    if (random.one_in(3) && copy.name == this_module)
        copy.content = test::struct_module(true, random.choose(module_names()));
    const auto place = static_cast<std::ptrdiff_t>(random.below(spec.sections.size() + 1));
    spec.sections.insert(spec.sections.begin() + place, std::move(copy));
}

/// A section whose bytes are, or may be, those of another.
void overlap(ElfSpec& spec, Random& random) {
    Section other{.name = ".data", .content = "", .type = random.choose(types)};
    other.offset = random.below(2000);
    other.size = random.below(random.one_in(2) ? 64 : 2000);
    spec.sections.push_back(std::move(other));
}

void relocations(ElfSpec& spec, Random& random) {
    Section table{.name = ".rela" + std::string(this_module), .content = "", .type = SHT_RELA, .flags = 0};
    if (random.one_in(3)) table.type = SHT_REL;
    table.info = random.one_in(5) ? static_cast<std::uint32_t>(random.below(6)) : index_of(spec, this_module);
    const std::size_t entry = table.type == SHT_RELA ? 24 : 16;
    const std::size_t count = random.one_in(40) ? 65536 / entry + random.below(2) : random.between(1, 4);
    for (std::size_t i = 0; i < count; ++i) {
        // Far from the name, which is at 24 to 79; around it; or as near as can be.
        std::uint64_t place = 400 + 8 * random.below(50);
        if (random.one_in(3)) place = random.between(8, 96);
        if (random.one_in(4)) place = random.one_in(2) ? random.between(15, 17) : random.between(79, 81);
        if (random.one_in(20)) place = odd_number(random);
        std::string bytes(entry, '\0');
        std::memcpy(bytes.data(), &place, sizeof place);
        table.content += bytes;
    }
    if (random.one_in(6)) table.content.resize(table.content.size() - random.between(1, 15));
    if (random.one_in(10)) table.content.resize(64U << 10U);
    const auto place = static_cast<std::ptrdiff_t>(random.below(2) * spec.sections.size());
    if (place == 0) ++table.info; // it moves all others
    spec.sections.insert(spec.sections.begin() + place, std::move(table));
}

/// As linkers do with names that end alike: one is part of the other.
void merged_names(ElfSpec& spec, Random& random) {
    const std::string name = random.one_in(2) ? ".modinfo" : std::string(this_module);
    const std::uint32_t wanted = index_of(spec, name);
    if (wanted == 0) return;
    spec.sections[wanted - 1].name_offset = 2; // of the table, which begins with a NUL
    spec.sections.insert(spec.sections.begin(), {.name = "x" + name, .content = std::string(8, 'x')});
}

/// As large as it may be, or one byte larger.
void large_name_table(ElfSpec& spec, Random& random) {
    std::string names = names_of(spec);
    names.resize((std::size_t{8} << 20U) + random.below(2));
    spec.names.content = std::move(names);
}

/// Struct module begins in the ELF header, and its name lies behind that.
void begin_in_header(ElfSpec& spec, Random& random) {
    const std::uint32_t index = index_of(spec, this_module);
    if (index == 0) return;
    Section section = spec.sections[index - 1];
    const std::size_t shared = std::min(random.between(1, 24), section.content.size());
    section.size = section.content.size();
    section.offset = sizeof(Elf64_Ehdr) - shared;
    section.content.erase(0, shared);
    spec.sections.erase(spec.sections.begin() + index - 1);
    spec.sections.insert(spec.sections.begin(), std::move(section));
}

/// To begin anywhere in the table, or just behind it.
void rename(ElfSpec& spec, Random& random) {
    const std::size_t size = names_of(spec).size();
    any(spec, random).name_offset =
        static_cast<std::uint32_t>(random.one_in(4) ? size : random.below(size + 4));
}

void name_table(ElfSpec& spec, Random& random) {
    if (random.one_in(60)) return large_name_table(spec, random);
    switch (random.below(5)) {
    case 0: spec.terminate_names = false; break;
    case 1: spec.names.type = random.choose(types); break;
    case 2: spec.names.size = random.below(120); break;
    case 3: spec.names.offset = random.below(2000); break;
    default: spec.names.size = odd_number(random); break;
    }
}

using SectionChange = void (*)(ElfSpec&, Random&);
struct NamedSectionChange {
    const char* what;
    SectionChange change;
};
constexpr std::array<NamedSectionChange, 16> section_changes = {{
    {"a section twice", twice},
    {"sections overlapping", overlap},
    {"a section moved",
     [](ElfSpec& s, Random& r) { any(s, r).offset = r.one_in(2) ? r.below(2000) : odd_number(r); }},
    {"a section's size",
     [](ElfSpec& s, Random& r) { any(s, r).size = r.one_in(2) ? r.below(2000) : odd_number(r); }},
    {"a section's type", [](ElfSpec& s, Random& r) { any(s, r).type = r.choose(types); }},
    {"a section's flags", [](ElfSpec& s, Random& r) { any(s, r).flags = r.choose(flags); }},
    {"a section's name", rename},
    {"a section's address", [](ElfSpec& s, Random& r) { any(s, r).address = odd_number(r); }},
    {"relocations", relocations},
    {"relocations again", relocations},
    {"merged names", merged_names},
    {"struct module in the header", begin_in_header},
    {"a section called otherwise", [](ElfSpec& s, Random& r) { any(s, r).name += "."; }},
    {"a long section name",
     [](ElfSpec& s, Random& r) { any(s, r).name += std::string(r.between(30, 300), 'x'); }},
    {"section 0",
     [](ElfSpec& s, Random& r) {
         switch (r.below(3)) {
         case 0: s.null.type = r.choose(types); break;
         case 1: s.null.size = r.below(2); break;
         default: s.null.address = r.below(2); break;
         }
     }},
    {"the name table", name_table},
}};

} // namespace

std::string change_sections(ElfSpec& spec, Random& random) {
    if (spec.sections.empty()) return "";
    const auto& [what, change] = random.choose(section_changes);
    change(spec, random);
    return what;
}

std::string change_header(ElfSpec& spec, Random& random) {
    test::HeaderLies& lies = spec.lies;
    const std::size_t sections = spec.sections.size() + 2;
    const auto odd = [&random] { return static_cast<std::uint16_t>(odd_number(random)); };
    switch (random.below(11)) {
    case 0: lies.section_headers = random.one_in(2) ? std::uint64_t{1} << 32U : odd_number(random); break;
    case 1: lies.section_count = random.one_in(2) ? 0 : 65535; break;
    case 2:
        lies.section_count = static_cast<std::uint16_t>(random.between(sections - 2, sections + 1));
        break;
    case 3:
        lies.name_table = static_cast<std::uint16_t>(random.one_in(4) ? odd() : random.below(sections));
        break;
    case 4: lies.type = static_cast<std::uint16_t>(random.below(5)); break;
    case 5: lies.header_size = odd(); break;
    case 6: lies.section_header_size = odd(); break;
    case 7: lies.program_headers = random.below(2) * odd_number(random); break;
    case 8: lies.elf_class = static_cast<std::uint8_t>(random.below(4)); break;
    case 9: lies.byte_order = static_cast<std::uint8_t>(random.below(4)); break;
    default: {
        // Readable, and never to be loaded here.
        const bool is_64_bit = random.one_in(2);
        const auto order = is_64_bit || random.one_in(2) ? std::endian::big : std::endian::little;
        spec = test::module_spec(random.choose(module_names()), is_64_bit, order);
        return "of another machine";
    }
    }
    return "the header";
}

} // namespace kmodguard::verdicts
