// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: a kernel with a few numbers of its tables changed, since no fuzzer makes such tables by
// itself. The first bytes say which kernel, every eight that follow one change: near which table, how wide,
// how far from its beginning, to what. An input that begins with 0xFF is the kernel, as it is.
#include "../unit/symbols/kernel_builder.cpp" // the tests' kernels
#include "symbols/symbols.hpp"

#include <cstdint>
#include <cstdlib>
#include <map>
#include <span>

using namespace kmodguard;

namespace {

using Input = std::span<const std::uint8_t>;

constexpr std::size_t header_size = 2;
constexpr std::size_t change_size = 8;

void require(bool condition) {
    if (!condition) std::abort();
}

const test::TestKernel& kernel_for(Input header) {
    static std::map<unsigned, test::TestKernel> made;
    const auto generation = static_cast<test::Generation>(header[0] % 7);
    const bool is_64_bit = (header[1] & 1U) != 0 && generation != test::Generation::v7_0_fixed;
    const auto key = (static_cast<unsigned>(generation) << 8U) | (header[1] & 0xFU);
    if (const auto found = made.find(key); found != made.end()) return found->second;
    auto spec =
        test::spec_of(generation, is_64_bit, (header[1] & 2U) != 0 ? std::endian::big : std::endian::little);
    spec.lists_data = (header[1] & 4U) != 0;
    spec.base_in_file = (header[1] & 8U) != 0;
    spec.functions = 800;
    spec.pointers = 100;
    return made.emplace(key, test::build_kernel(spec)).first->second;
}

void change(test::Bytes& bytes, const test::KernelPlaces& at, std::endian order, Input what) {
    const std::array places{at.count,       at.names,     at.markers, at.tokens,
                            at.token_index, at.addresses, at.base,    at.end};
    const auto distance = static_cast<std::int16_t>(what[2] | what[3] << 8U);
    const auto offset = static_cast<std::int64_t>(places.at(what[0] % places.size())) + distance;
    const std::size_t width = std::size_t{1} << (what[1] % 3U);
    for (std::size_t i = 0; i < width; ++i) {
        const auto target =
            static_cast<std::uint64_t>(offset) + (order == std::endian::little ? i : width - 1 - i);
        if (target < bytes.size()) bytes[target] = static_cast<std::byte>(what[4 + i]);
    }
}

void check(std::span<const std::byte> kernel) {
    const auto symbols = symbols::recover_symbols(kernel);
    if (!symbols) {
        require(symbols.error().kind == sys::ErrorKind::invalid && !symbols.error().hint.empty());
        return;
    }
    require(symbols->count() >= 1000 && symbols->word_size());
    for (std::size_t i = 0; i < symbols->count(); ++i) {
        const auto symbol = symbols->at(i);
        require(!symbol.name.empty() && symbol.name.size() <= symbols::SymbolsBuilder::max_name);
        if (i % 64 == 0) require(!symbols->find(symbol.name).empty());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    if (input.size() < header_size) return 0;
    if (input[0] == 0xFF) {
        check(std::as_bytes(input.subspan(1)));
        return 0;
    }
    const auto& kernel = kernel_for(input.first(header_size));
    auto bytes = kernel.bytes;
    for (input = input.subspan(header_size); input.size() >= change_size; input = input.subspan(change_size))
        change(bytes, kernel.at, kernel.spec.order, input.first(change_size));
    check(bytes);
    return 0;
}
