// SPDX-License-Identifier: AGPL-3.0-only
#include "kernel_image_model.hpp"

#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace kmodguard::test {

namespace {

template <typename Ehdr, typename Shdr>
class KernelModel {
  public:
    KernelModel(std::span<const std::byte> image, KernelKind kind)
        : image_(image.begin(), image.end()), kind_(kind) {}

    std::optional<KernelReading> read() {
        if (!headers_are_valid()) return std::nullopt;
        const auto this_module = find(".gnu.linkonce.this_module");
        const auto modinfo = find(".modinfo");
        if (!this_module || !modinfo || *this_module == 0) return std::nullopt;
        KernelReading reading;
        if (*modinfo != 0) reading.modinfo_name = modinfo_name(sections_[*modinfo]);
        const auto& section = sections_[*this_module];
        if (kind_.strict && (get(section.sh_flags) & SHF_ALLOC) == 0) return std::nullopt;
        rewrite_section_headers();
        reading.name = string_at(get(section.sh_offset) + (kind_.is_64_bit ? 24U : 12U));
        return reading;
    }

  private:
    template <typename T>
    T get(T value) const {
        return kind_.order == std::endian::native ? value : std::byteswap(value);
    }

    bool inside(const Shdr& section) const {
        const std::uint64_t offset = get(section.sh_offset);
        const std::uint64_t size = get(section.sh_size);
        return offset <= image_.size() && size <= image_.size() - offset;
    }

    bool headers_are_valid() {
        if (image_.size() < sizeof(Ehdr)) return false;
        std::memcpy(&header_, image_.data(), sizeof header_);
        const std::uint64_t table = get(header_.e_shoff);
        const std::size_t count = get(header_.e_shnum);
        const std::size_t names = get(header_.e_shstrndx);
        if (std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0 || get(header_.e_type) != ET_REL
            || get(header_.e_shentsize) != sizeof(Shdr) || table >= image_.size()
            || count * sizeof(Shdr) > image_.size() - table || names == SHN_UNDEF || names >= count)
            return false;
        sections_.resize(count);
        std::memcpy(sections_.data(), image_.data() + table, count * sizeof(Shdr));
        const auto& strings = sections_[names];
        if (!inside(strings) || get(strings.sh_size) == 0
            || image_[get(strings.sh_offset) + get(strings.sh_size) - 1] != std::byte{0})
            return false;
        if (get(sections_[0].sh_type) != SHT_NULL || sections_[0].sh_size != 0 || sections_[0].sh_addr != 0)
            return false;
        names_ = get(strings.sh_offset);
        return std::all_of(sections_.begin() + 1, sections_.end(), [this, &strings](const Shdr& section) {
            if (!has_content(section)) return true;
            return inside(section)
                   && ((get(section.sh_flags) & SHF_ALLOC) == 0
                       || get(section.sh_name) < get(strings.sh_size));
        });
    }

    bool has_content(const Shdr& section) const {
        return get(section.sh_type) != SHT_NULL && get(section.sh_type) != SHT_NOBITS;
    }

    /// 0: none. Nothing: more than one, which the strict kernel refuses.
    std::optional<std::size_t> find(std::string_view wanted) const {
        std::size_t found = 0;
        for (std::size_t i = 1; i < sections_.size(); ++i) {
            const auto& section = sections_[i];
            const bool counts =
                kind_.strict ? has_content(section) : (get(section.sh_flags) & SHF_ALLOC) != 0;
            if (!counts || string_at(names_ + get(section.sh_name)) != wanted) continue;
            if (!kind_.strict) return i;
            if (found != 0) return std::nullopt;
            found = i;
        }
        return found;
    }

    /// What C sees at an offset; the end of the image ends it, where the kernel would read on.
    std::string string_at(std::uint64_t offset) const {
        if (offset >= image_.size()) return {};
        const auto* begin = reinterpret_cast<const char*>(image_.data()) + offset;
        return {begin, strnlen(begin, image_.size() - offset)};
    }

    /// The first record that begins with "name=", the first one even if the section is empty.
    std::optional<std::string> modinfo_name(const Shdr& section) const {
        const std::uint64_t begin = get(section.sh_offset);
        const std::uint64_t end = begin + get(section.sh_size);
        for (std::uint64_t at = begin; at == begin || at < end;) {
            const auto record = string_at(at);
            if (record.starts_with("name=")) return record.substr(5);
            at += record.size();
            while (at < end && at < image_.size() && image_[at] == std::byte{0})
                ++at;
            if (at >= image_.size() || at == begin) break;
        }
        return std::nullopt;
    }

    /// Before the sections are copied out, each header is given its section's address in memory.
    void rewrite_section_headers() {
        const std::size_t table = get(header_.e_shoff);
        for (std::size_t i = 1; i < sections_.size(); ++i) {
            const std::uint64_t address = 0x4141'4141'4141'4141U;
            std::memcpy(image_.data() + table + i * sizeof(Shdr) + offsetof(Shdr, sh_addr), &address,
                        sizeof sections_[i].sh_addr);
        }
    }

    std::vector<std::byte> image_;
    KernelKind kind_;
    Ehdr header_{};
    std::vector<Shdr> sections_;
    std::uint64_t names_ = 0;
};

} // namespace

std::optional<KernelReading> kernel_reading(std::span<const std::byte> image, KernelKind kind) {
    if (kind.is_64_bit) return KernelModel<Elf64_Ehdr, Elf64_Shdr>(image, kind).read();
    return KernelModel<Elf32_Ehdr, Elf32_Shdr>(image, kind).read();
}

std::vector<KernelReading> kernel_readings(std::span<const std::byte> image) {
    std::vector<KernelReading> readings;
    for (const bool is_64_bit : {false, true})
        for (const auto order : {std::endian::little, std::endian::big})
            for (const bool strict : {false, true})
                if (auto reading = kernel_reading(image, {is_64_bit, order, strict}))
                    readings.push_back(std::move(*reading));
    return readings;
}

} // namespace kmodguard::test
