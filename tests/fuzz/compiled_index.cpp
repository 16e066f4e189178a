// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: a compiled index, whose checksum was made to fit. The first byte says how long the token
// is that is looked up in it.
#include "compiled/index.hpp"
#include "sys/file.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace {

using namespace kmodguard;

class NoImages final : public compiled::ImageReader {
  public:
    sys::Result<Read> read(const std::filesystem::path& /*image*/, const Wanted& /*wanted*/) override {
        return sys::failure(sys::ErrorKind::not_found, "there are no images");
    }
};

// As compiled/file.cpp lays the header out.
constexpr std::size_t size_at = 16;
constexpr std::size_t checksum_at = 24;
constexpr std::size_t checked_from = 32;

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    std::string_view rest(reinterpret_cast<const char*>(data) + 1,
                          size - 1); // NOLINT(*-reinterpret-cast): bytes
    const std::string token(rest.substr(0, data[0]));
    std::string bytes(rest.substr(token.size()));
    if (bytes.size() > checked_from) {
        const std::uint64_t length = bytes.size();
        std::memcpy(bytes.data() + size_at, &length, sizeof length);
        const std::uint64_t checksum = XXH3_64bits(bytes.data() + checked_from, bytes.size() - checked_from);
        std::memcpy(bytes.data() + checksum_at, &checksum, sizeof checksum);
    }
    const sys::UniqueFd memory = sys::memory_file("index");
    if (!memory || !sys::write_all(memory.get(), bytes)) return 0;
    auto file = compiled::File::open(memory, "it");
    if (!file) return 0;
    NoImages images;
    compiled::CompiledIndex index(std::move(*file), sys::Paths("/nowhere"), images);
    for (const std::string& module : index.resolve(token)) {
        const core::ModuleRecord* record = index.find(module);
        if (record != nullptr) static_cast<void>(index.asked_for(*record, token));
        static_cast<void>(index.aliases(module));
    }
    static_cast<void>(index.is_configured_alias(token));
    index.for_each_alias(
        [&index](std::string_view, std::string_view module) { static_cast<void>(index.find(module)); });
    return 0;
}
