// SPDX-License-Identifier: AGPL-3.0-only
#include "verdicts/image.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

namespace kmodguard::verdicts {
namespace {

using test::Bytes;

/// The header of `image` and where its section headers are; false if there are none.
bool read_header(const Bytes& image, Elf64_Ehdr& header) {
    if (image.size() < sizeof header) return false;
    std::memcpy(&header, image.data(), sizeof header);
    const std::size_t size = header.e_shnum * sizeof(Elf64_Shdr);
    return size > 0 && header.e_shoff < image.size() && size <= image.size() - header.e_shoff;
}

/// A table of 65,535 sections that is there: 4 MiB of headers, all but the first few of no type and no name.
void claim_all_sections(Bytes& image) {
    constexpr std::size_t most = 65535;
    Elf64_Ehdr header{};
    if (!read_header(image, header)) return;
    header.e_shnum = static_cast<Elf64_Half>(most);
    std::memcpy(image.data(), &header, sizeof header);
    image.resize(header.e_shoff + most * sizeof(Elf64_Shdr));
}

/// A section that shares bytes with the headers: it is moved onto them, or they into it.
void share_headers(Bytes& image, Random& random) {
    Elf64_Ehdr header{};
    if (!read_header(image, header)) return;
    const std::size_t size = header.e_shnum * sizeof(Elf64_Shdr);
    std::byte* const table = image.data() + header.e_shoff;
    std::byte* const entry = table + random.below(header.e_shnum) * sizeof(Elf64_Shdr);
    Elf64_Shdr section{};
    std::memcpy(&section, entry, sizeof section);
    constexpr std::size_t behind_name = 80;
    const bool has_room = section.sh_size >= behind_name + size && section.sh_offset < image.size()
                          && section.sh_size <= image.size() - section.sh_offset;
    if (has_room) { // struct module
        const Bytes copy(table, table + size);
        header.e_shoff = section.sh_offset + behind_name;
        std::ranges::copy(copy, image.data() + header.e_shoff);
        std::memcpy(image.data(), &header, sizeof header);
        return;
    }
    section.sh_offset = random.one_in(2) ? random.below(sizeof header) : header.e_shoff + random.below(size);
    section.sh_size = random.between(1, sizeof header);
    std::memcpy(entry, &section, sizeof section);
}

void damage_a_byte(Bytes& image, Random& random) {
    std::size_t begin = 0;
    std::size_t end = image.size();
    Elf64_Ehdr header{};
    if (random.one_in(3)) {
        end = std::min(end, sizeof header);
    } else if (random.one_in(2) && read_header(image, header)) {
        begin = header.e_shoff;
        end = std::min(image.size(), begin + 8 * sizeof(Elf64_Shdr));
    }
    std::byte& byte = image[random.between(begin, end - 1)];
    switch (random.below(4)) {
    case 0: byte = std::byte{0}; break;
    case 1: byte = std::byte{0xff}; break;
    case 2: byte = static_cast<std::byte>(random.below(256)); break;
    default: byte ^= static_cast<std::byte>(1U << random.below(8)); break;
    }
}

} // namespace

const std::vector<std::string>& module_names() {
    static const std::vector<std::string> names = {
        "m0",  "m1",    "m00",      "dm_crypt",           "snd_hda_codec",
        "x.1", "c++_a", "Dm_Crypt", std::string(55, 'n'), std::string(54, 'n')};
    return names;
}

std::string damage(Bytes& image, Random& random) {
    if (image.empty()) return "";
    if (random.one_in(5)) {
        image.resize(random.between(1, image.size()));
        return "truncated";
    }
    if (random.one_in(4)) { // as a signature is; also for every length of a last block to be hashed
        image.resize(image.size() + random.between(1, 200), std::byte{'~'});
        return "with a tail";
    }
    if (random.one_in(20) && image.size() >= 6) {
        static constexpr std::array<std::string_view, 3> magics = {"\x1f\x8b",
                                                                   "\xfd"
                                                                   "7zXZ",
                                                                   "\x28\xb5\x2f\xfd"};
        const auto magic = std::as_bytes(std::span(random.choose(magics)));
        std::ranges::copy(magic, image.begin());
        return "as if it were compressed";
    }
    if (random.one_in(150)) {
        claim_all_sections(image);
        return "65535 sections";
    }
    if (random.one_in(5)) {
        share_headers(image, random);
        return "headers in a section";
    }
    const std::size_t count = random.between(1, 4);
    for (std::size_t i = 0; i < count; ++i)
        damage_a_byte(image, random);
    return "damaged bytes";
}

Image random_image(Random& random) {
    const std::string name = random.one_in(12) ? "nobody" : random.choose(module_names());
    test::ElfSpec spec = test::module_spec(name);
    Image image{.bytes = {}, .made = name};
    const auto note = [&image](const std::string& change) {
        if (!change.empty()) image.made += ", " + change;
    };
    const bool changed = random.one_in(2);
    for (std::size_t changes = changed ? random.between(1, 3) : 0; changes > 0; --changes) {
        const std::size_t kind = random.below(8);
        if (kind < 4)
            note(change_names(spec, random));
        else if (kind < 7)
            note(change_sections(spec, random));
        else
            note(change_header(spec, random));
    }
    image.bytes = test::build(spec);
    if (random.one_in(changed ? 4 : 6)) note(damage(image.bytes, random));
    return image;
}

} // namespace kmodguard::verdicts
