// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: a compiled file, as an index and as remembered images, whose header was made to fit but
// for the places of the tables. The first byte says how long the token is that is looked up in it.
#include "compiled/index.hpp"
#include "compiled/remembered_images.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
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
constexpr std::string_view magic = "KMGTABLE";
constexpr std::size_t version_at = 8;
constexpr std::size_t size_at = 16;
constexpr std::size_t checksum_at = 24;
constexpr std::size_t checked_from = 32;

std::string with_header(std::string_view rest) {
    std::string bytes(checked_from, '\0');
    bytes += rest;
    const std::array<std::uint32_t, 2> version = {compiled::file_version, compiled::table_count};
    const std::uint64_t length = bytes.size();
    const std::uint64_t checksum = XXH3_64bits(rest.data(), rest.size());
    magic.copy(bytes.data(), magic.size());
    std::memcpy(bytes.data() + version_at, version.data(), sizeof version);
    std::memcpy(bytes.data() + size_at, &length, sizeof length);
    std::memcpy(bytes.data() + checksum_at, &checksum, sizeof checksum);
    return bytes;
}

void use_as_index(compiled::File file, const std::string& token) {
    NoImages images;
    compiled::CompiledIndex index(std::move(file), sys::Paths("/nowhere"), images);
    for (const std::string& module : index.resolve(token)) {
        const core::ModuleRecord* record = index.find(module);
        if (record != nullptr) static_cast<void>(index.asked_for(*record, token));
        static_cast<void>(index.aliases(module));
    }
    static_cast<void>(index.is_configured_alias(token));
    index.for_each_alias(
        [&index](std::string_view, std::string_view module) { static_cast<void>(index.find(module)); });
}

void use_as_images(const std::string& bytes) {
    const std::filesystem::path path = fmt::format("/dev/shm/kmodguard-fuzz-{}", ::getpid());
    std::ofstream(path, std::ios::binary) << bytes;
    ::chmod(path.c_str(), S_IRUSR | S_IWUSR);
    NoImages none;
    compiled::RememberedImages images(none, path);
    static_cast<void>(images.read("/bin/sh", {.aliases = true}));
    std::filesystem::remove(path);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    std::string_view rest(reinterpret_cast<const char*>(data) + 1,
                          size - 1); // NOLINT(*-reinterpret-cast): bytes
    const std::string token(rest.substr(0, data[0]));
    const std::string bytes = with_header(rest.substr(token.size()));
    use_as_images(bytes);
    const sys::UniqueFd memory = sys::memory_file("index");
    if (!memory || !sys::write_all(memory.get(), bytes)) return 0;
    auto file = compiled::File::open(memory, "it");
    if (file) use_as_index(std::move(*file), token);
    return 0;
}
