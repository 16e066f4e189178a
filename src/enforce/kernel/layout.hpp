// SPDX-License-Identifier: AGPL-3.0-only
//
// The structures that the BPF programs share with user space, and names in their form.
#pragma once

#include "enforce/kernel/bpf/layout.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::kernel {

/// `text` padded with NULs; nothing if it does not fit with one at its end.
[[nodiscard]] inline std::optional<guard_name> name_key(std::string_view text) {
    if (text.size() >= GUARD_NAME_SIZE) return std::nullopt;
    guard_name name{};
    std::ranges::copy(text, name.text);
    return name;
}

/// Up to the first NUL.
template <std::size_t Size>
[[nodiscard]] std::string text_of(const char (&text)[Size]) {
    return {text, ::strnlen(text, Size)};
}

} // namespace kmodguard::kernel
