// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: a file of modprobe.d. Whatever it holds, each line is reported once at most, by its
// number.
#include "modules/kmod_context.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data),
                                size); // NOLINT(*-reinterpret-cast): bytes
    const auto lines = static_cast<std::size_t>(std::ranges::count(text, '\n')) + 1;
    unsigned before = 0;
    for (const auto& ignored : kmodguard::modules::ignored_lines_of(text)) {
        if (ignored.word.empty() || ignored.line <= before || ignored.line > lines) std::abort();
        before = ignored.line;
    }
    return 0;
}
