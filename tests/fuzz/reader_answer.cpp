// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: what a reader answers, as the process that asked it takes it apart. What is taken is the
// same when it is put together and taken apart again.
#include "reader/messages.hpp"

#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace {

template <typename Value>
void take_apart(std::string_view bytes) {
    Value value;
    if (!kmodguard::reader::decode(bytes, value)) return;
    const std::string again = kmodguard::reader::encoded(value);
    Value same;
    if (!kmodguard::reader::decode(again, same) || kmodguard::reader::encoded(same) != again) std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data),
                                 size); // NOLINT(*-reinterpret-cast): bytes
    take_apart<kmodguard::reader::ReadPolicy>(bytes);
    take_apart<kmodguard::compiled::ImageReader::Read>(bytes);
    take_apart<std::vector<kmodguard::reader::NewText>>(bytes);
    take_apart<kmodguard::core::RuntimeChanges>(bytes);
    take_apart<kmodguard::sys::Error>(bytes);
    return 0;
}
