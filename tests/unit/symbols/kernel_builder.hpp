// SPDX-License-Identifier: AGPL-3.0-only
//
// Small kernels for tests: functions that are not there, and the tables that list them, laid out as
// scripts/kallsyms.c of each generation lays them out. Each of them is what a real kernel is to the recovery,
// and can be damaged in one place at a time.
#pragma once

#include "symbols/symbols.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

using Bytes = std::vector<std::byte>;

/// Which tables a kernel has, and in which order.
enum class Generation {
    v2_6,       ///< absolute addresses first; the count and the markers are words
    v4_6,       ///< distances from a base; otherwise as before
    v4_20,      ///< the count and the markers have 32 bits
    v6_2,       ///< the order of the names between markers and tokens
    v6_4,       ///< the distances and their base last
    v7_0,       ///< no base, but distances from each number itself
    v7_0_fixed, ///< absolute addresses of 32 bits, of a kernel that cannot be moved
};

inline std::ostream& operator<<(std::ostream& out, Generation generation) {
    constexpr std::array names{"v2_6", "v4_6", "v4_20", "v6_2", "v6_4", "v7_0", "v7_0_fixed"};
    return out << names.at(static_cast<std::size_t>(generation));
}

struct KernelSpec {
    Generation generation = Generation::v6_4;
    bool is_64_bit = true;
    std::endian order = std::endian::little;
    std::size_t alignment = 8; ///< of the tables
    bool percpu = false;       ///< x86-64: per-CPU symbols are small numbers (v4_6 to v6_4)
    bool lists_data = true;    ///< CONFIG_KALLSYMS_ALL
    bool base_in_file = true;  ///< kallsyms_relative_base is not left to a relocation
    std::size_t functions = 2000;
    std::size_t pointers = 400; ///< to functions and to texts each
    std::uint64_t address =
        0xFFFF'FFFF'8100'0000; ///< of the first byte; of 32-bit kernels without the upper half
    std::size_t before = 0;    ///< bytes of something else before the kernel, a multiple of a page
};

inline constexpr std::string_view test_banner =
    "Linux version 6.1.0-test (build@example.org) (gcc 12.2.0) #1 SMP PREEMPT_DYNAMIC Debian 6.1.1-1";

struct Listed {
    std::string text; ///< type and name
    std::uint64_t address = 0;
};

/// Where things are in the image: for damage.
struct KernelPlaces {
    std::size_t banner = 0;
    std::size_t count = 0;
    std::size_t names = 0;
    std::size_t markers = 0;
    std::size_t tokens = 0;
    std::size_t token_index = 0;
    std::size_t addresses = 0;
    std::size_t base = 0;
    std::size_t end = 0; ///< of the last table
};

struct TestKernel {
    KernelSpec spec;
    Bytes bytes;
    std::vector<Listed> listed; ///< in the tables' order
    KernelPlaces at;

    [[nodiscard]] std::uint64_t mask() const { return spec.is_64_bit ? UINT64_MAX : UINT32_MAX; }
    [[nodiscard]] std::uint64_t address_of(std::size_t offset) const {
        return (spec.address + offset - spec.before) & mask();
    }
};

class KernelBuilder {
  public:
    explicit KernelBuilder(KernelSpec spec) { kernel_.spec = spec; }

    [[nodiscard]] TestKernel build();

  private:
    using Tokens = std::array<std::string, 256>;

    void list_symbols();
    void add_tokens();
    void align();
    void put(std::uint64_t value, std::size_t size);
    void put_text(std::string_view text);
    void put_word(std::uint64_t value) { put(value, word()); }
    [[nodiscard]] std::size_t word() const { return kernel_.spec.is_64_bit ? 8 : 4; }
    [[nodiscard]] bool has_words() const { return kernel_.spec.generation <= Generation::v4_6; }
    [[nodiscard]] bool is_behind() const { return kernel_.spec.generation >= Generation::v6_4; }
    [[nodiscard]] std::string packed(std::string_view text) const;

    void put_addresses();
    void put_offsets(std::uint64_t base);
    void put_count_and_names();
    void put_sequence();
    void put_tokens();
    void put_texts();
    void put_pointers();

    TestKernel kernel_;
    Tokens tokens_;
    std::vector<std::size_t> long_tokens_; ///< codes, one for each text
    std::vector<std::uint64_t> text_addresses_;
};

/// The kernel of a specification.
[[nodiscard]] inline TestKernel build_kernel(const KernelSpec& spec) {
    return KernelBuilder(spec).build();
}

/// The tables' alignment that a generation's assembler directive makes of it.
[[nodiscard]] inline KernelSpec spec_of(Generation generation, bool is_64_bit, std::endian order) {
    KernelSpec spec{.generation = generation, .is_64_bit = is_64_bit, .order = order};
    spec.alignment = generation >= Generation::v7_0 ? 4 : is_64_bit ? 8 : 4;
    if (!is_64_bit) spec.address = 0xC010'0000;
    return spec;
}

} // namespace kmodguard::test
