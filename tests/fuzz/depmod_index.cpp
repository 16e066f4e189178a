// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: one of depmod's indexes. Whatever it holds, reading it ends, with no more entries than it
// has bytes.
#include "modules/depmod_index.hpp"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data),
                                 size); // NOLINT(*-reinterpret-cast): bytes
    const auto entries = kmodguard::modules::parse_depmod_index(bytes, "it");
    if (entries && entries->size() > size) std::abort();
    return 0;
}
