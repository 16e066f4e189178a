// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: any bytes as a compressed image, and what comes out as an image. The limit must hold, and
// what is accepted must not be accepted any more with something after it, and a gzip member must be the same
// to the kernel, which parses the header itself (kernel/module/decompress.c).
#include "modules/decompress.hpp"
#include "modules/image.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

using namespace kmodguard;

namespace {

constexpr std::uint64_t limit = 1U << 20U;

void require(bool condition) {
    if (!condition) std::abort();
}

/// The content of an accepted member as the kernel reads it; one byte more than `size` if there is more.
std::vector<std::byte> kernel_reading(std::vector<std::byte> member, std::size_t size) {
    auto at = member.begin() + 10;
    if ((member[3] & std::byte{0x08}) != std::byte{0}) at = std::find(at, member.end(), std::byte{0}) + 1;
    std::vector<std::byte> content(size + 1);
    z_stream stream{};
    require(inflateInit2(&stream, -MAX_WBITS) == Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(&*at);
    stream.avail_in = static_cast<uInt>(member.end() - at);
    stream.next_out = reinterpret_cast<Bytef*>(content.data());
    stream.avail_out = static_cast<uInt>(content.size());
    const int status = ::inflate(&stream, Z_NO_FLUSH);
    content.resize(stream.total_out);
    ::inflateEnd(&stream);
    require(status == Z_STREAM_END);
    return content;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto content = modules::decompress(bytes, limit);
    if (!content) {
        require(content.error().kind == sys::ErrorKind::invalid && !content.error().what.empty());
        return 0;
    }
    require(content->size() <= limit);
    static_cast<void>(modules::identify_image(*content));
    if (modules::container_of(bytes) == modules::Container::raw) return 0;
    require(!content->empty());
    std::vector<std::byte> longer(bytes.begin(), bytes.end());
    longer.push_back(std::byte{0x1F});
    require(!modules::decompress(longer, limit));
    if (modules::container_of(bytes) == modules::Container::gzip)
        require(kernel_reading({bytes.begin(), bytes.end()}, content->size()) == *content);
    return 0;
}
