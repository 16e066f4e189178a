// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/elf_builder.hpp"

#include <cstring>
#include <span>
#include <utility>

namespace kmodguard::test {

namespace {

class ElfWriter {
  public:
    explicit ElfWriter(const ElfSpec& spec) : spec_(spec) {}

    Bytes write() {
        return spec_.is_64_bit ? write_as<Elf64_Ehdr, Elf64_Shdr>() : write_as<Elf32_Ehdr, Elf32_Shdr>();
    }

  private:
    template <typename T, typename V>
    void set(T& field, V value) const {
        field = static_cast<T>(value);
        if (spec_.order != std::endian::native) field = std::byteswap(field);
    }

    void append(const void* data, std::size_t size) {
        const auto* bytes = static_cast<const std::byte*>(data);
        image_.insert(image_.end(), bytes, bytes + size);
    }

    template <typename Shdr>
    Shdr place(const Section& section, std::uint32_t name) {
        image_.resize((image_.size() + 7) & ~std::size_t{7});
        Shdr header{};
        set(header.sh_name, section.name_offset.value_or(name));
        set(header.sh_type, section.type);
        set(header.sh_flags, section.flags);
        set(header.sh_addr, section.address);
        set(header.sh_link, section.link);
        set(header.sh_info, section.info);
        set(header.sh_offset, section.offset.value_or(section.type == SHT_NULL ? 0 : image_.size()));
        set(header.sh_size, section.size.value_or(section.content.size()));
        if (section.type != SHT_NOBITS) append(section.content.data(), section.content.size());
        return header;
    }

    template <typename Ehdr, typename Shdr>
    Bytes write_as() {
        image_.resize(sizeof(Ehdr));
        std::string names(1, '\0');
        std::vector<Shdr> headers{place<Shdr>(spec_.null, 0)};
        for (const auto& section : spec_.sections) {
            headers.push_back(place<Shdr>(section, static_cast<std::uint32_t>(names.size())));
            names += section.name + '\0';
        }
        const auto own_name = static_cast<std::uint32_t>(names.size());
        Section table = spec_.names;
        names += table.name;
        if (spec_.terminate_names) names += '\0';
        if (table.content.empty()) table.content = names;
        headers.push_back(place<Shdr>(table, own_name));

        image_.resize((image_.size() + 7) & ~std::size_t{7});
        const auto& lies = spec_.lies;
        Ehdr header{};
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = lies.elf_class.value_or(spec_.is_64_bit ? ELFCLASS64 : ELFCLASS32);
        header.e_ident[EI_DATA] =
            lies.byte_order.value_or(spec_.order == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB);
        header.e_ident[EI_VERSION] = EV_CURRENT;
        set(header.e_type, lies.type.value_or(ET_REL));
        set(header.e_machine, spec_.machine);
        set(header.e_version, EV_CURRENT);
        set(header.e_phoff, lies.program_headers.value_or(0));
        set(header.e_shoff, lies.section_headers.value_or(image_.size()));
        set(header.e_ehsize, lies.header_size.value_or(sizeof(Ehdr)));
        set(header.e_shentsize, lies.section_header_size.value_or(sizeof(Shdr)));
        set(header.e_shnum, lies.section_count.value_or(headers.size()));
        set(header.e_shstrndx, lies.name_table.value_or(headers.size() - 1));
        append(headers.data(), headers.size() * sizeof(Shdr));
        std::memcpy(image_.data(), &header, sizeof header);
        return std::move(image_);
    }

    const ElfSpec& spec_;
    Bytes image_;
};

} // namespace

Section& ElfSpec::section(std::string_view name) {
    for (auto& one : sections)
        if (one.name == name) return one;
    std::unreachable();
}

std::string padded(std::string text, std::size_t size) {
    text.resize(size);
    return text;
}

std::string struct_module(bool is_64_bit, std::string_view name) {
    const std::size_t offset = is_64_bit ? 24 : 12;
    std::string content(is_64_bit ? 896 : 384, '\0');
    return content.replace(offset, name.size(), name);
}

std::string modinfo(const std::vector<std::string>& records) {
    std::string content;
    for (const auto& record : records)
        content += record + '\0';
    return content;
}

ElfSpec module_spec(std::string_view name, bool is_64_bit, std::endian order) {
    return {.is_64_bit = is_64_bit,
            .order = order,
            .machine = static_cast<std::uint16_t>(order == std::endian::big ? EM_MIPS
                                                  : is_64_bit               ? EM_X86_64
                                                                            : EM_386),
            .sections = {{.name = ".text", .content = std::string(32, '\x90')},
                         {.name = ".modinfo",
                          .content = modinfo({"license=GPL", "alias=test:*", "depends=libfoo,bar",
                                              "name=" + std::string(name), "vermagic=6.1.0 SMP"})},
                         {.name = ".gnu.linkonce.this_module", .content = struct_module(is_64_bit, name)}},
            .lies = {}};
}

Bytes build(const ElfSpec& spec) {
    return ElfWriter(spec).write();
}

Bytes to_bytes(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

} // namespace kmodguard::test
