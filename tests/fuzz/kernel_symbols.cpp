// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: any bytes as a text of symbols, as a vmlinux, and as the compressed streams and wrappers
// that a kernel image may be. What is accepted must be usable, and what is refused must say why.
#include "modules/image_source.hpp"
#include "symbols/kernel_image.hpp"
#include "symbols/symbols.hpp"

#include <cstdint>
#include <cstdlib>
#include <span>

using namespace kmodguard;

namespace {

constexpr std::uint64_t limit = 1U << 20U;

void require(bool condition) {
    if (!condition) std::abort();
}

void require_reason(const sys::Error& error) {
    require((error.kind == sys::ErrorKind::invalid || error.kind == sys::ErrorKind::denied)
            && !error.what.empty());
}

void require_usable(const symbols::Symbols& symbols) {
    require(symbols.count() > 0 && !symbols.source().empty());
    for (std::size_t i = 0; i < symbols.count(); ++i) {
        const auto symbol = symbols.at(i);
        require(!symbol.name.empty());
        const auto found = symbols.find(symbol.name);
        require(!found.empty() && found.front() <= symbol.address && symbol.address <= found.back());
        require(!symbols.with_stem(symbol.name).empty());
    }
}

void read_text(std::string_view text) {
    const auto symbols = symbols::parse_symbol_text(text, "input");
    if (!symbols) return require_reason(symbols.error());
    require_usable(*symbols);
}

void read_elf(std::span<const std::byte> bytes) {
    modules::MemorySource source(bytes);
    const auto symbols = symbols::read_elf_symbols(source, "input");
    if (!symbols) return require_reason(symbols.error());
    if (*symbols) require_usable(**symbols);
}

void decompress(std::span<const std::byte> bytes) {
    const auto start = symbols::find_stream(bytes, 0);
    require(start.has_value() || !symbols::codec_of(bytes));
    if (!start) return;
    const auto content = symbols::decompress_stream(start->codec, bytes.subspan(start->offset), limit);
    if (!content) return require_reason(content.error());
    require(!content->empty() && content->size() <= limit);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    read_text({reinterpret_cast<const char*>(data), size});
    read_elf(bytes);
    decompress(bytes);
    if (symbols::find_stream(bytes, 0)) return 0; // may be a bomb, which takes its second
    const auto image = symbols::decompress_kernel(bytes);
    if (!image) require_reason(image.error());
    return 0;
}
