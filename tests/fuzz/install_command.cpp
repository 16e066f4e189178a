// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: the command of an install line. Whatever it is, what is made of it is bounded; and a
// modprobe that follows on a line of its own is seen, or something is said not to be known.
#include "core/module_index.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size); // NOLINT(*-reinterpret-cast): bytes
    const auto command = kmodguard::core::read_install_command(text);
    if (command.text != text || command.loads.size() > 64) std::abort();
    const auto longer = kmodguard::core::read_install_command(text + " \nmodprobe evil");
    if (longer.loads_nothing()) std::abort();
    return 0;
}
