// SPDX-License-Identifier: AGPL-3.0-only
//
// Changes of what says a name: .modinfo's records and struct module.
#include "verdicts/image.hpp"

#include <algorithm>
#include <array>

namespace kmodguard::verdicts {
namespace {

using test::ElfSpec;
using test::Section;

Section* find(ElfSpec& spec, std::string_view name) {
    const auto found = std::ranges::find(spec.sections, name, &Section::name);
    return found == spec.sections.end() ? nullptr : &*found;
}

constexpr std::string_view record = "name=";

/// Where the first "name=" begins, in the middle of another record or not.
std::size_t name_place(const std::string& content) {
    return std::min(content.find(record), content.size());
}

std::string name_in(const std::string& content) {
    const std::size_t begin = name_place(content);
    if (begin == content.size()) return "";
    return content.substr(begin + record.size(), content.find('\0', begin) - begin - record.size());
}

void put_before_name(std::string& content, std::string_view what) {
    content.insert(name_place(content), what);
}

void set_name(std::string& content, const std::string& name) {
    const std::size_t begin = name_place(content);
    if (begin == content.size()) return;
    content.replace(begin + record.size(), name_in(content).size(), name);
}

std::string terminated(std::string text) {
    return text + '\0';
}

std::string with_dashes(std::string name, Random& random) {
    for (char& c : name)
        if (c == '_' && !random.one_in(4)) c = '-';
    return name;
}

/// A record that is read in pieces, one of which begins with "name=" or ends just before it.
std::string long_record(Random& random) {
    std::string text = "parm=";
    text.resize(random.between(50, 70), 'x');
    if (random.one_in(3)) text.resize(random.between(115, 135), 'x');
    if (!random.one_in(3)) text += std::string(record) + random.choose(module_names());
    return terminated(text);
}

using ModinfoChange = void (*)(std::string&, Random&);
struct NamedModinfoChange {
    const char* what;
    ModinfoChange change;
};
constexpr std::array<NamedModinfoChange, 16> modinfo_changes = {{
    {"dashes in .modinfo", [](std::string& m, Random& r) { set_name(m, with_dashes(name_in(m), r)); }},
    {"another name in .modinfo", [](std::string& m, Random& r) { set_name(m, r.choose(module_names())); }},
    {"the same name twice", [](std::string& m, Random&) { m += terminated("name=" + name_in(m)); }},
    {"a second name", [](std::string& m, Random& r) { m += terminated("name=" + r.choose(module_names())); }},
    {"a second name with dashes",
     [](std::string& m, Random& r) { m += terminated("name=" + with_dashes(name_in(m), r)); }},
    {"a first name",
     [](std::string& m, Random& r) { m.insert(0, terminated("name=" + r.choose(module_names()))); }},
    {"parm=xname=",
     [](std::string& m, Random& r) {
         put_before_name(m, terminated("parm=xname=" + r.choose(module_names())));
     }},
    {"xname=",
     [](std::string& m, Random& r) { put_before_name(m, terminated("xname=" + r.choose(module_names()))); }},
    {"a record in pieces", [](std::string& m, Random& r) { put_before_name(m, long_record(r)); }},
    {"an empty name",
     [](std::string& m, Random& r) { m.insert(r.one_in(2) ? 0 : m.size(), terminated("name=")); }},
    {"no name record",
     [](std::string& m, Random&) {
         if (name_place(m) < m.size()) m[name_place(m)] = 'N';
     }},
    {"a long name in .modinfo",
     [](std::string& m, Random& r) { set_name(m, std::string(r.between(53, 70), 'n')); }},
    {"NULs in .modinfo",
     [](std::string& m, Random& r) { put_before_name(m, std::string(r.between(1, 200), '\0')); }},
    {".modinfo unterminated",
     [](std::string& m, Random& r) { m.resize(m.size() - std::min(m.size(), r.between(1, 4))); }},
    {"name= without its NUL", [](std::string& m, Random& r) { m += "name=" + r.choose(module_names()); }},
    {"one NUL in .modinfo", [](std::string& m, Random&) { m = std::string(1, '\0'); }},
}};

constexpr std::size_t name_offset = 24;
constexpr std::size_t name_size = 56;

/// One that is no module's, or not quite.
std::string odd_name(Random& random) {
    std::string name = random.choose(module_names());
    switch (random.below(6)) {
    case 0: return "." + name;
    case 1: return with_dashes(name, random);
    case 2: return std::string(random.between(54, 56), 'n');
    case 3: return name + random.choose(std::string(" /\n\x7f\xff*[:,~"));
    case 4: return "";
    default: return name + std::string(random.between(1, 3), '\0') + "x";
    }
}

std::string change_struct(ElfSpec& spec, Random& random) {
    Section* section = find(spec, ".gnu.linkonce.this_module");
    if (section == nullptr) return "";
    if (random.one_in(4)) {
        section->content.resize(random.between(0, 90));
        return "struct module cut short";
    }
    std::string name = random.one_in(2) ? random.choose(module_names()) : odd_name(random);
    name.resize(name_size);
    if (section->content.size() < name_offset + name_size) return "";
    section->content.replace(name_offset, name_size, name);
    return "another name in struct module";
}

} // namespace

std::string change_names(ElfSpec& spec, Random& random) {
    if (random.one_in(4)) return change_struct(spec, random);
    if (random.one_in(10)) {
        const auto removed =
            std::erase_if(spec.sections, [](const Section& section) { return section.name == ".modinfo"; });
        return removed > 0 ? "no .modinfo" : "";
    }
    Section* section = find(spec, ".modinfo");
    if (section == nullptr) return "";
    if (random.one_in(300)) { // as large as it may be, or one byte larger
        const std::size_t size = (std::size_t{4} << 20U) + random.below(2);
        section->content.resize(size - 1, random.one_in(8) ? '\0' : 'x');
        section->content += '\0';
        return "a large .modinfo";
    }
    const auto& [what, change] = random.choose(modinfo_changes);
    change(section->content, random);
    return what;
}

} // namespace kmodguard::verdicts
